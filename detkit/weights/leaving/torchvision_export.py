"""`to_torchvision`: a model's weights with torchvision's names, and how to build its model there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, overload

import torch
import torchvision
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.models import Detector, SegmentationModel
from detkit.weights import torchvision_dense, torchvision_ssd, torchvision_two_stage
from detkit.weights.leaving.result_settings import batch_norm_epsilons
from detkit.weights.leaving.segmentation_export import TorchvisionSegmentation, export_segmentation
from detkit.weights.leaving.torchvision_arguments import arguments_of
from detkit.weights.leaving.torchvision_build import built
from detkit.weights.tensor_layout import Layout
from detkit.weights.torchvision_weights import BUILDERS

LAYOUTS: dict[str, Layout] = {
    **torchvision_two_stage.LAYOUTS,
    **torchvision_ssd.LAYOUTS,
    **torchvision_dense.LAYOUTS,
}
"""By torchvision's name, how its tensors become ours and ours become its."""

# Of a logit that is never detected: its probability is 0 in float32.
_NEVER = -200.0


@dataclass(frozen=True, eq=False)
class TorchvisionDetector:
    """A detector as torchvision has it: ``getattr(torchvision.models.detection, name)(**arguments)`` loads the weights.

    Args:
        name: of the function in ``torchvision.models.detection``.
        arguments: of that function; those that equal its defaults are left out.
        state_dict: the weights, copied, with torchvision's names.
        batch_norm_epsilon: of every batch norm, which no argument sets; None where there is none.
        categories: the name of each label of torchvision, its background first; None if the model does not know them.
    """

    name: str
    arguments: dict[str, Any]
    state_dict: dict[str, Tensor]
    batch_norm_epsilon: float | None
    categories: list[str] | None

    def build(self) -> nn.Module:
        """torchvision's detector with these weights, in evaluation mode."""
        models = torchvision.models.detection
        return built(models, self.name, self.arguments, self.state_dict, self.batch_norm_epsilon)


@overload
def to_torchvision(model: Detector) -> TorchvisionDetector: ...
@overload
def to_torchvision(model: SegmentationModel) -> TorchvisionSegmentation: ...
def to_torchvision(model: Detector | SegmentationModel) -> TorchvisionDetector | TorchvisionSegmentation:
    """The torchvision model with the same detections or logits, the inverse of `from_torchvision`.

    detkit's label ``c`` of a detector is torchvision's ``c + 1``, and the last logit its background class 0. Box deltas
    and masks of the background, which torchvision has and does not read, are zeros. In segmentation labels are the
    same, and the caller normalizes and resizes images. Settings that matter only in training are torchvision's
    defaults.

    Args:
        model: a model with the layers of one of torchvision's, imported or trained with detkit.

    Raises:
        InputError: torchvision has no model with these layers, or no argument for one of its settings; the message
            names it.
    """
    return export_segmentation(model) if isinstance(model, SegmentationModel) else _detector(model)


def _detector(model: Detector) -> TorchvisionDetector:
    problems: dict[str, str] = {}
    for name, layout in LAYOUTS.items():
        try:
            tensors = layout.theirs(_convertible(model), _names(name))
        except InputError as error:
            problems[name] = str(error)
            continue
        return _exported(model, name, tensors)
    reason = "; ".join(f"for {name} {problem}" for name, problem in problems.items() if _is_near(model, name))
    raise InputError(
        f"torchvision has no detector with the layers of this {type(model).__name__}"
        f"{f' ({reason})' if reason else ''}: only those of {', '.join(LAYOUTS)} can be exported"
    )


def _exported(model: Detector, first: str, tensors: Mapping[str, Tensor]) -> TorchvisionDetector:
    """As the detector `first`, or as another one with the same layers if that needs fewer arguments."""
    found: dict[str, dict[str, Any]] = {}
    problems = []
    epsilons = set(batch_norm_epsilons(model).values())
    for name in (one for one in LAYOUTS if _names(one) == _names(first)):
        try:
            with torch.random.fork_rng(devices=[]):
                twin = BUILDERS[name](tensors)
            found[name] = arguments_of(model, twin, name)
        except InputError as error:
            problems.append(str(error))
    if not found:
        raise InputError(problems[0])
    name = min(found, key=lambda one: len(found[one]))
    categories = None
    if model.categories is not None:
        categories = ["__background__", *(category.name for category in model.categories)]
    # torchvision's SSDlite has all channels in its last blocks only with ImageNet's weights, which `build` loads first.
    is_complete = name.startswith("ssdlite") and tensors["backbone.extra.0.0.0.weight"].shape[1] != 480
    backbone = "DEFAULT" if is_complete else None
    basic = {"weights": None, "weights_backbone": backbone, "num_classes": model.num_classes + 1}
    state_dict = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    epsilon = epsilons.pop() if epsilons else None
    return TorchvisionDetector(name, basic | found[name], state_dict, epsilon, categories)


@functools.cache
def _names(name: str) -> tuple[str, ...]:
    """The names of the tensors of torchvision's detector `name`."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        make = getattr(torchvision.models.detection, name)
        return tuple(make(weights=None, weights_backbone=None, num_classes=2).state_dict())


def _convertible(model: Detector) -> dict[str, Tensor]:
    """The tensors of `model`, with a background logit, and without biases that torchvision's layers lack.

    Raises:
        InputError: such a bias is not zero.
    """
    tensors = dict(model.state_dict())
    head = getattr(model, "head", None)
    if getattr(head, "logits", None) == model.num_classes:  # of a `RetinaNetHead` or `FCOSHead`
        boxes = len(tensors["head.classes.bias"]) // model.num_classes
        for ending, filling in (("weight", 0.0), ("bias", _NEVER)):
            tensors[f"head.classes.{ending}"] = _with_background(tensors[f"head.classes.{ending}"], boxes, filling)
    for name in torchvision_dense.normalized_biases(tensors):
        if tensors[name].count_nonzero():
            raise InputError(
                f"{name} is not zero, and torchvision's layer has no bias: freeze it at zero in training, as "
                "from_torchvision does"
            )
        del tensors[name]
    return tensors


def _with_background(tensor: Tensor, boxes: int, filling: float) -> Tensor:
    per_box = torch.unflatten(tensor, 0, (boxes, -1))
    background = torch.full_like(per_box[:, :1], filling)
    return torch.cat((per_box, background), dim=1).flatten(0, 1)


def _is_near(model: Detector, name: str) -> bool:
    """Whether `name` begins as the class of `model` is called."""
    return name.startswith(type(model).__name__.lower())
