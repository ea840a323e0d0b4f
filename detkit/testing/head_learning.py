"""The contract of a head that learns: its losses of one batch fall, and it decodes the objects of that batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detkit.ops.iou import box_iou
from detkit.structures import Classification, Detections, Target
from detkit.testing.batches import Batches
from detkit.testing.contract import deep_copy, no_error, require
from detkit.testing.head_callers import Caller

_LEARNING_RATE = 0.01
_MAP_RATE = 0.05  # of maps that learn with the head
_DECODED_EVERY = 25  # steps
_IOU = 0.5  # of a detection with its object
_SURE = 0.5  # of the best score of an image: boxes of low scores are on objects by chance


def check_losses_fall(head: nn.Module, caller: Caller, batches: Batches, steps: int, owner: str) -> None:
    """The losses of one batch fall."""
    head = deep_copy(head, owner).train()
    if not _learned(head):
        return
    features, totals = [one.detach() for one in batches.features()], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(_learned(head), _LEARNING_RATE)
        for _ in range(steps):
            context = batches.context(batches.targets("objects"))
            losses = caller.losses(head, caller.forward(head, features, context), context)
            totals.append(_step(optimizer, losses))
    require(
        min(totals[-5:]) < totals[0],
        f"{owner} does not overfit one batch: its losses go from {totals[0]:.4g} to {min(totals[-5:]):.4g} in "
        f"{steps} steps of Adam at {_LEARNING_RATE}; look for a wrong sign, a detach, or targets in another frame",
    )


def check_learned(head: nn.Module, caller: Caller, batches: Batches, steps: int, owner: str) -> None:
    """After it has learned one batch, `decode` gives its objects: in pixels of the images as given, with their labels.

    The maps are learned as well, so that small heads can learn the batch. Its images have borders, and are scaled
    differently along x and y.
    """
    if not caller.finds_objects or not _learned(head):
        return
    problem = _problem_after(_with_usual_weights(deep_copy(head, owner)), caller, batches, steps, 0.005, owner)
    if problem is not None:  # perhaps by bad luck: narrow layers may die of larger weights
        problem = _problem_after(deep_copy(head, owner), caller, batches, steps, 0.01, owner)
    require(
        problem is None,
        f"{owner}.decode {problem}, after learning one batch in {steps} steps of Adam; check the "
        "labels, the frame and the thresholds of decode, and that losses and decode agree on how boxes are encoded (a "
        "head that learns slowly needs more overfit_steps)",
    )


def _problem_after(
    head: nn.Module, caller: Caller, batches: Batches, steps: int, rate: float, owner: str
) -> str | None:
    """What is wrong with the answers after at most so many steps with the learning `rate`; None where nothing is."""
    head.eval()
    features, targets = batches.features(), batches.targets_apart(caller.objects)
    problem: str | None = None
    scales: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        groups: list[dict[str, Any]] = [{"params": _learned(head)}, {"params": features, "lr": _MAP_RATE}]
        optimizer = torch.optim.Adam(groups, rate)
        for step in range(1, steps + 1):
            context = batches.letterboxed(targets, seed=step)
            losses = caller.losses(head, caller.forward(head, features, context), context)
            # At the start no loss is above 1, so that distances in pixels do not drown the classes.
            scales = scales or {name: max(1.0, float(loss.detach())) for name, loss in losses.items()}
            _step(optimizer, {name: loss / scales[name] for name, loss in losses.items()})
            if step % _DECODED_EVERY and step < steps:
                continue
            context = batches.letterboxed(targets, seed=0, known=False)
            with torch.no_grad(), no_error(f"{owner}.decode", "it takes what forward gives without targets"):
                answers = caller.decode(head, caller.forward(head, features, context), context)
            problem = _problem(answers, targets)
            if problem is None:
                break
    return problem


def _with_usual_weights(head: nn.Module) -> nn.Module:
    """Make small weights as large as He et al. 2015 advise (equation 10), so that deep towers learn in few steps."""
    for part in head.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)) and part.weight.numel() > 1:
            usual = (2 / part.weight[0].numel()) ** 0.5
            spread = float(part.weight.detach().std())
            if 0 < spread < usual:
                part.weight.data.mul_(usual / spread)
    return head


def _learned(head: nn.Module) -> list[nn.Parameter]:
    return [one for one in head.parameters() if one.requires_grad]


def _step(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> float:
    """One step of learning; gives the total before it."""
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    optimizer.zero_grad()
    torch.autograd.backward(total)
    optimizer.step()
    return float(total.detach())


def _problem(answers: list[Any], targets: list[Target]) -> str | None:
    """What is wrong with the answers for a batch that was learned; None where they are right, or of unknown types."""
    if all(isinstance(answer, Classification) for answer in answers):
        return _problem_of_images(answers, targets)
    if not all(isinstance(answer, Detections) for answer in answers):
        return None
    if not any(len(answer) for answer in answers):
        return "returns no detections"
    return _problem_of_boxes(answers, targets)


def _problem_of_images(answers: list[Classification], targets: list[Target]) -> str | None:
    expected = [target.image_label for target in targets]
    got = [int(answer.labels[0]) if len(answer) else None for answer in answers]
    return None if got == expected else f"gives images of the labels {expected} the labels {got}"


def _problem_of_boxes(answers: list[Detections], targets: list[Target]) -> str | None:
    """Most objects must have the label of the highest-scoring detection on them."""
    located, labeled, count, example = 0, 0, 0, ""
    for answer, target in zip(answers, targets, strict=True):
        objects = target.objects()
        assert objects.boxes is not None
        assert objects.labels is not None
        answer = answer[answer.scores >= _SURE * answer.scores.max()] if len(answer) else answer
        overlaps = box_iou(objects.boxes, answer.boxes.float()) >= _IOU
        for box, label, on_object in zip(objects.boxes, objects.labels, overlaps, strict=True):
            count += 1
            labels = answer.labels[on_object]
            located += len(labels) > 0
            labeled += len(labels) > 0 and int(labels[0]) == int(label)
            if not example and not (len(labels) and labels[0] == label):
                example = _example(box, int(label), answer, labels)
    if 2 * labeled > count:
        return None
    what = f"finds {located} of {count} objects" if 2 * located <= count else (
        f"finds {located} of {count} objects but gives {labeled} of them their label"
    )  # fmt: skip
    return f"{what} ({example})"


def _example(box: Tensor, label: int, answer: Detections, labels: Tensor) -> str:
    """An object, and what was detected in its place."""
    rounded = [round(value) for value in box.tolist()]
    if len(labels):
        return f"the object of label {label} at {rounded} gets label {int(labels[0])}"
    nearest = [[round(value) for value in one.tolist()] for one in answer.boxes[answer.labels == label][:1]]
    return f"no box overlaps the object of label {label} at {rounded}, the best of its label is {nearest}"
