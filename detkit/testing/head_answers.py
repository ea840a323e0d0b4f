"""The contract of a head's answers: what it decodes, its candidates and their assignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detkit.geometry import Size
from detkit.heads import Candidates, Context, DenseHead
from detkit.ops import box_iou
from detkit.structures import Classification, Detections
from detkit.testing.batches import CASES, Batches
from detkit.testing.contract import deep_copy, is_close, no_error, require
from detkit.testing.head_callers import Caller, Raw, object_rows, without_targets

_OUTSIDE = 1e-2  # pixels that a box may lie outside of its image by rounding
_APART = 3  # objects of an image
_ALIKE = 0.9  # IoU of a box that is the object's, but for the precision of the encoding
_SPREAD = (0.2, 1.0)  # noise on the weights, so that an untrained head detects something


def check_answers(
    head: nn.Module, caller: Caller, batches: Batches, num_classes: int, cut_boxes: bool, owner: str
) -> None:
    """Hold `decode` to its contract; see `check_head` for the arguments."""
    head, context = deep_copy(head, owner).eval(), batches.context()
    for spread in (0.0, *_SPREAD):
        head = _with_noise(head, spread)
        with torch.no_grad():
            raw = caller.forward(head, batches.features(), context)
            answers = _decoded(head, caller, raw, context, owner)
        for image, answer in enumerate(answers):
            _check_answer(answer, image, batches.given_size, num_classes, cut_boxes and caller.finds_objects, owner)
        if raw.detections is not None:
            _check_added(answers, raw.detections, owner)
        if any(len(answer) for answer in answers if isinstance(answer, Detections)):
            break
    with torch.no_grad():
        _check_same(head, caller, batches, raw, answers, owner)
        _check_frame(head, caller, batches, raw, answers, owner)
        _check_images_alone(head, caller, batches, answers, owner)


def _decoded(head: nn.Module, caller: Caller, raw: Raw, context: Context, owner: str) -> list[Any]:
    with no_error(f"{owner}.decode", "it takes what forward gives without targets"):
        answers = caller.decode(head, raw, context)
    images, got = len(context.batch.sizes), len(answers) if isinstance(answers, (list, tuple)) else type(answers)
    require(
        isinstance(answers, (list, tuple)) and len(answers) == images,
        f"{owner}.decode must give one answer for each image: got {got} for {images} images",
    )
    for answer in answers:
        require(hasattr(answer, "to"), f"{owner}.decode gives a {type(answer).__name__}, which has no to(device)")
    return list(answers)


def _check_answer(answer: Any, image: int, size: Size, num_classes: int, cut_boxes: bool, owner: str) -> None:
    """The fields of `Detections` or a `Classification`; answers of other types have their own rules."""
    if not isinstance(answer, (Detections, Classification)):
        return
    where, scores, labels = f"{owner}.decode, image {image}", answer.scores, answer.labels
    require(
        bool(((scores >= 0) & (scores <= 1)).all()),
        f"{where}: scores must lie in [0, 1], got {scores.min() if len(scores) else 0:.4g} to "
        f"{scores.max() if len(scores) else 0:.4g}; apply the sigmoid or softmax",
    )
    require(bool((scores[:-1] >= scores[1:]).all()), f"{where}: answers must be sorted by score, best first")
    in_range = bool(((labels >= 0) & (labels < num_classes)).all())
    require(in_range, f"{where}: labels must lie in 0..{num_classes - 1}, got {sorted(set(labels.tolist()))}")
    require(not scores.requires_grad, f"{where}: answers must not hold the graph; decode under torch.no_grad")
    if not isinstance(answer, Detections):
        return
    boxes, (height, width) = answer.boxes, size
    ordered = bool((boxes.isfinite() & (boxes[:, [2, 3, 2, 3]] >= boxes[:, [0, 1, 0, 1]]).all(dim=1)[:, None]).all())
    require(ordered, f"{where}: boxes must be finite, with x1 <= x2 and y1 <= y2")
    inside = (boxes >= -_OUTSIDE).all() and (boxes <= boxes.new_tensor([width, height] * 2) + _OUTSIDE).all()
    require(
        bool(inside) or not cut_boxes,
        f"{where}: boxes must lie in the image as it was given, {height} x {width} pixels, got x up to "
        f"{boxes[:, 2].max() if len(boxes) else 0:.4g}; end with context.batch.restore, which moves and cuts them",
    )
    if answer.masks is not None:
        got = tuple(answer.masks.shape[1:])
        require(got == size, f"{where}: masks must have the {size} pixels of the image as it was given, got {got}")


def _check_added(answers: list[Any], detections: list[Detections], owner: str) -> None:
    """A branch adds fields, and leaves the objects and their order as they are."""
    for image, (answer, given) in enumerate(zip(answers, detections, strict=True)):
        kept = isinstance(answer, Detections) and all(
            is_close(getattr(answer, name), getattr(given, name)) for name in ("boxes", "scores", "labels")
        )
        require(
            kept,
            f"{owner}.decode, image {image}: a branch on given detections keeps them in their order: return "
            "dataclasses.replace(detections[image], …)",
        )


def _check_same(head: nn.Module, caller: Caller, batches: Batches, raw: Raw, answers: list[Any], owner: str) -> None:
    """Decoding depends on its arguments alone, and not on the targets."""
    trained = caller.decode(head.train(), raw, batches.context())
    head.eval()
    require(is_close(trained, answers), f"{owner}.decode depends on self.training: let its arguments alone decide")
    known = caller.decode(head, raw, batches.context(batches.targets("objects")))
    require(is_close(known, answers), f"{owner}.decode depends on context.targets: they are for losses and assign")


def _check_frame(head: nn.Module, caller: Caller, batches: Batches, raw: Raw, answers: list[Any], owner: str) -> None:
    """Answers are in pixels of the images as given: of images twice as large everything lies twice as far."""
    if not caller.finds_objects:
        return
    larger = caller.decode(head, raw, batches.context(given_size=batches.size))
    for image, (answer, other) in enumerate(zip(answers, larger, strict=True)):
        if not isinstance(answer, Detections):
            continue
        scale = batches.size[0] / batches.given_size[0]
        require(
            is_close(answer.boxes * scale, other.boxes, atol=_OUTSIDE),
            f"{owner}.decode, image {image}: boxes must be in pixels of the image as it was given, so of one twice as "
            "large twice as far; end with context.batch.restore",
        )


def _check_images_alone(head: nn.Module, caller: Caller, batches: Batches, answers: list[Any], owner: str) -> None:
    """What is in one image does not depend on the other."""
    features = [one.clone() for one in batches.features()]
    for one, other in zip(features, batches.features(seed=1), strict=True):
        one[1] = other[1]
    context = batches.context()
    first = caller.decode(head, caller.forward(head, features, context), context)[0]
    require(
        is_close(first, answers[0]),
        f"{owner}.decode: the answer for an image depends on the others of its batch; suppress within images, by "
        "image_index, and normalize nothing across the batch",
    )


def check_candidates(head: nn.Module, caller: Caller, batches: Batches, num_classes: int, owner: str) -> None:
    """Hold `candidates` to its contract, where the head has its own; see `check_head` for the arguments."""
    head, context = _with_noise(deep_copy(head, owner), _SPREAD[0]).eval(), batches.context()
    features = batches.features()
    candidates = _candidates(head, caller, caller.forward(head, features, context), context, owner)
    if candidates is None:
        return
    where, count = f"{owner}.candidates", len(candidates.boxes)
    index, objectness = candidates.image_index, candidates.objectness
    shapes = {
        "boxes": (candidates.boxes, (count, 4)),
        "logits": (candidates.logits, (count, candidates.logits.shape[-1])),
        "image_index": (index, (count,)),
        "objectness": (index if objectness is None else objectness, (count,)),
    }
    for name, (value, shape) in shapes.items():
        require(tuple(value.shape) == shape, f"{where}: {name} must be {shape}, got {tuple(value.shape)}")
    require(
        index.dtype == torch.int64 and bool((index[1:] >= index[:-1]).all()) and set(index.tolist()) <= {0, 1},
        f"{where}: image_index must be int64, ascending and below the number of images; take images in turn",
    )
    require(
        candidates.logits.requires_grad,
        f"{where} must be differentiable, before any threshold: use no detach or no_grad",
    )
    scores = candidates.scores()
    require(
        tuple(scores.shape) == (count, num_classes) and bool(((scores >= 0) & (scores <= 1)).all()),
        f"{where}: scores() must be ({count}, {num_classes}) in [0, 1], got {tuple(scores.shape)}; give the activation "
        "that makes scores of the logits, and leave background out",
    )


def check_assignment(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> None:
    """Hold `assign` to its contract, where the head has its own; see `check_head` for the arguments."""
    head = deep_copy(head, owner).eval()
    for case in CASES:
        known = batches.context(batches.targets(case))
        with torch.no_grad():
            raw = caller.forward(head, batches.features(), without_targets(known))
            candidates = _candidates(head, caller, raw, without_targets(known), owner)
            rows = _assigned(head, caller, raw, known, f"{owner}.assign of a batch with {case}")
        if candidates is None or rows is None:
            return
        where, shape = f"{owner}.assign of a batch with {case}", tuple(candidates.image_index.shape)
        require(
            tuple(rows.shape) == shape and rows.dtype == torch.int64,
            f"{where} must give int64 {shape}, a row for each candidate: got {tuple(rows.shape)} {rows.dtype}",
        )
        for image, own in enumerate(object_rows(known)):
            allowed = {-2} if case == "no annotation" else {-2, -1, *own}
            wrong = sorted(set(rows[candidates.image_index == image].tolist()) - allowed)
            require(
                not wrong,
                f"{where}: candidates of image {image} may have {sorted(allowed)}, rows of its own objects among those "
                f"of the batch, -1 background, -2 neither: got {wrong[:3]}",
            )


def _candidates(head: nn.Module, caller: Caller, raw: Raw, context: Context, owner: str) -> Candidates | None:
    """None where the head has none."""
    try:
        candidates = caller.candidates(head, raw, context)
    except NotImplementedError:
        return None
    got = type(candidates).__name__
    require(isinstance(candidates, Candidates), f"{owner}.candidates must give detkit.heads.Candidates, got {got}")
    return candidates


def _assigned(head: nn.Module, caller: Caller, raw: Raw, context: Context, where: str) -> Tensor | None:
    with no_error(where, "give a row for each candidate, -1 background and -2 neither"):
        try:
            return caller.assign(head, raw, context)
        except NotImplementedError:
            return None


def _with_noise(head: nn.Module, spread: float) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return head


@torch.no_grad()
def check_ideal(head: nn.Module, batches: Batches, owner: str) -> None:
    """Hold the `ideal` of a dense head that has one: decoded, it gives the objects that `assign` gives a candidate."""
    if not isinstance(head, DenseHead) or type(head).ideal is DenseHead.ideal:
        return
    head = deep_copy(head, owner).eval()
    context = batches.context(batches.targets_apart(_APART))
    with no_error(f"{owner}.ideal", "it takes what forward gives, and gives the same"):
        raw = head(batches.features(), context)
        answers = head.decode(head.ideal(raw, context), without_targets(context))
    rows_of_all = {row for rows in object_rows(context) for row in rows}
    assigned = rows_of_all if type(head).assign is DenseHead.assign else set(head.assign(raw, context).tolist())
    for answer, rows, target in zip(answers, object_rows(context), batches.targets_apart(_APART), strict=True):
        if not isinstance(answer, Detections) or target.boxes is None or target.labels is None:
            continue
        ious = box_iou(target.boxes, answer.boxes) * (target.labels[:, None] == answer.labels)
        for row, overlaps in zip(rows, ious, strict=True):
            require(
                row not in assigned or bool((overlaps > _ALIKE).any()),
                f"{owner}.ideal, decoded, lacks an object that assign gives a candidate: let this candidate predict "
                "its box and class exactly",
            )
