"""The contract of a head, as a check: its forward and its losses. Its answers are checked in `head_answers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.files.json_values import shown
from detkit.geometry import Size
from detkit.heads import Context, RegionBranch
from detkit.structures import Target
from detkit.testing.batches import CASES, Batches
from detkit.testing.contract import (
    ContractError,
    check_pickles,
    check_tensors_are_registered,
    deep_copy,
    is_close,
    no_error,
    require,
)
from detkit.testing.head_answers import check_answers, check_assignment, check_candidates, check_ideal
from detkit.testing.head_callers import Caller, caller_of
from detkit.testing.head_learning import check_learned, check_losses_fall
from detkit.testing.imitation.head_on_device import check_on_device
from detkit.testing.maps.head_maps import check_label_maps

_NO_TARGETS = "give 0 under the same key where there is nothing to learn"


def check_head(
    head: nn.Module,
    channels: Sequence[int],
    strides: Sequence[float],
    num_classes: int,
    image_size: Size = (96, 128),
    *,
    resolution: int = 7,
    is_box_branch: bool | None = None,
    cut_boxes: bool = True,
    before: Mapping[str, RegionBranch] | None = None,
    change_target: Callable[[Target], Target] | None = None,
    steps: int = 20,
    overfit_steps: int = 300,
) -> None:
    """Hold a `DenseHead`, `RegionBranch`, `ImageHead` or `PixelHead` to its contract: verbs, and what may be asked.

    It is left as it is: the check works on copies, with random maps and targets of every kind, on the CPU and on a GPU
    that is imitated.

    Args:
        head: of your own class, built for such maps, on the CPU.
        channels: of the maps that it gets, finest first; an `ImageHead` gets the last, a branch crops of them.
        strides: of the maps.
        num_classes: classes without background.
        image_size: (height, width) of the network's input; even.
        resolution: of the crops that a branch was built for.
        is_box_branch: of a branch, whether it classifies proposals or adds to given detections; None: it classifies if
            it has `candidates`.
        cut_boxes: whether detections lie inside of their image.
        before: of a branch that reads the outputs of others in ``so_far``, those others by name, in their order.
        change_target: adds fields of your own to a target, ``lambda target: MyTarget(**vars(target), …)``.
        steps: in which the losses of one batch must fall.
        overfit_steps: at most so many until `decode` must find most of the objects of one batch.

    Raises:
        ContractError: a rule is broken; the message says which.
    """
    owner = type(head).__name__
    caller = caller_of(head, strides, resolution, num_classes, is_box_branch, before)
    if caller is None:
        raise ContractError(
            f"a head is a DenseHead, RegionBranch, ImageHead or PixelHead of detkit.heads: got {owner}, derive it from "
            "one of them"
        )
    batches = Batches(channels, strides, num_classes, image_size, change_target, getattr(head, "num_keypoints", 5))
    check_tensors_are_registered(head, owner)
    check_pickles(head, owner, "checkpoints and processes pickle models")
    keys = _check_losses(deep_copy(head, owner), caller, batches, owner)
    _check_sampling(head, caller, batches, owner)
    _check_modes(head, caller, batches, owner)
    _check_half_precision(head, caller, batches, keys, owner)
    check_answers(head, caller, batches, num_classes, cut_boxes, owner)
    check_candidates(head, caller, batches, num_classes, owner)
    check_assignment(head, caller, batches, owner)
    check_on_device(head, caller, batches, owner)
    check_losses_fall(head, caller, batches, steps, owner)
    check_learned(head, caller, batches, overfit_steps, owner)
    check_label_maps(head, batches, num_classes, owner)
    check_ideal(head, batches, owner)  # after the decoding, which it relies on


def _check_losses(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> set[str]:
    """Of every kind of batch: named scalars, under the same keys, attached to every parameter."""
    head.eval()
    keys: set[str] = set()
    for case in CASES:
        where = f"{owner}.losses of a batch with {case}"
        head.zero_grad()
        features, context = batches.features(), batches.context(batches.targets(case))
        losses = _losses(head, caller, features, context, owner, where)
        keys = keys or set(losses)
        require(
            set(losses) == keys,
            f"{where} gives {sorted(losses)}, but {sorted(keys)} before: the keys are the same at every step, "
            f"{_NO_TARGETS}",
        )
        if case == "no annotation":
            taught = {name: float(loss.detach()) for name, loss in losses.items() if loss != 0}
            require(not taught, f"{where}, where every field is None, must be 0, since None teaches nothing: {taught}")
        _check_attached(head, sum(losses.values()), where)
    _check_missing_image(head, caller, batches, owner)
    return keys


def _losses(
    head: nn.Module, caller: Caller, features: list[Tensor], context: Context, owner: str, where: str
) -> dict[str, Tensor]:
    """Forward and losses, which must be finite scalars and leave the maps as they are."""
    before = [one.detach().clone() for one in features]
    with no_error(f"{where}: forward", "a batch without objects or regions is a batch as well"):
        raw = caller.forward(head, features, context)
    changed = any(not torch.equal(one, other) for one, other in zip(features, before, strict=True))
    require(not changed, f"{owner}.forward changes the maps that it is given: use no in-place operation on them")
    with no_error(where, _NO_TARGETS):
        losses = caller.losses(head, raw, context)
    is_dict = isinstance(losses, dict) and len(losses) > 0 and all(isinstance(name, str) for name in losses)
    require(is_dict, f"{where} must be a dict of at least one named scalar: got {_shown(losses)}")
    for name, loss in losses.items():
        scalar = isinstance(loss, Tensor) and loss.ndim == 0 and loss.is_floating_point()
        require(scalar, f"{where}: {name} must be a floating-point tensor without dimensions: got {_shown(loss)}")
        require(
            bool(loss.isfinite()),
            f"{where}: {name} is {_shown(loss)}, which is not finite; divide by at least 1",
        )
    return dict(losses)


def _check_attached(head: nn.Module, total: Any, where: str) -> None:
    require(
        total.requires_grad,
        f"{where} is not attached to the graph: {_NO_TARGETS}, such as 0 * raw.sum(), and detach nothing",
    )
    torch.autograd.backward(total)
    lost = [name for name, one in head.named_parameters() if one.requires_grad and one.grad is None]
    require(
        not lost,
        f"{where} is not attached to {', '.join(lost[:3])}: let every trainable parameter have part in a loss of every "
        "batch, such as 0 * raw.sum() (DDP waits for its gradient)",
    )


def _check_missing_image(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> None:
    """An image without annotation in a batch with others teaches nothing."""
    targets = [batches.targets("objects")[0], batches.targets("no annotation")[1]]
    features, context = batches.features(), batches.context(targets)
    where = f"{owner}.losses of a batch with an image that is not annotated"
    losses = _losses(head, caller, features, context, owner, where)
    torch.autograd.backward(list(losses.values()))
    reached = [one.grad for one in features if one.grad is not None]
    require(any(bool(one[0].any()) for one in reached), f"{owner}: no gradient of its losses reaches the maps")
    require(
        not any(bool(one[1].any()) for one in reached),
        f"{where} has a gradient in its maps: a target whose fields are None teaches nothing, not even background; "
        "leave its image out",
    )


def _check_modes(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> None:
    """Losses are decided by the arguments, and not by the mode."""
    head = deep_copy(head, owner).eval()
    results = []
    for training in (False, True):
        context = batches.context(batches.targets("objects"))
        with torch.no_grad():
            raw = caller.forward(head.eval(), batches.features(), context)
            results.append(caller.losses(head.train(training), raw, context))
    require(
        is_close(*results),
        f"{owner}.losses of the same raw outputs are {_shown(results[0])} in eval mode and {_shown(results[1])} in "
        "training mode: let them depend on the arguments alone, never on self.training",
    )
    with no_error(f"{owner}.forward in training mode", "both modes take the same batches"), torch.no_grad():
        caller.forward(head.train(), batches.features(), batches.context(batches.targets("objects")))


def _check_sampling(head: nn.Module, caller: Caller, batches: Batches, owner: str) -> None:
    """With the same generator the losses repeat, whatever torch's own generator has drawn."""
    results = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            fresh, context = deep_copy(head, owner).eval(), batches.context(batches.targets("objects"))
            results.append(caller.losses(fresh, caller.forward(fresh, batches.features(), context), context))
    require(
        is_close(*results),
        f"{owner}.losses differ for the same batch and context.generator: draw whatever is random from "
        "context.generator",
    )


def _check_half_precision(head: nn.Module, caller: Caller, batches: Batches, keys: set[str], owner: str) -> None:
    head = deep_copy(head, owner).eval()
    where, context = f"{owner} under torch.autocast in bfloat16", batches.context(batches.targets("objects"))
    advice = "cast raw outputs with .float() in losses and decode"
    with torch.no_grad(), no_error(where, advice), torch.autocast("cpu", torch.bfloat16):
        losses = caller.losses(head, caller.forward(head, batches.features(), context), context)
    bad = sorted(name for name, loss in losses.items() if not bool(loss.isfinite()))
    require(set(losses) == keys and not bad, f"{where} gives losses that are not finite: {bad}, compute in float32")


def _shown(value: Any) -> str:
    """A value in a message."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}" if value.ndim else f"{float(value.detach()):.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shown(one)}" for name, one in value.items()) + "}"
    return shown(value)
