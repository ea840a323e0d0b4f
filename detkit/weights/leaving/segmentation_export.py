"""A network for segmentation as torchvision has it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.models import SegmentationModel
from detkit.weights.leaving.result_settings import batch_norm_epsilons, result_differences
from detkit.weights.leaving.torchvision_build import built
from detkit.weights.torchvision_pixel import BUILDERS, LAYOUTS

# torchvision's networks take a batch that is ready and give logits.
_OUTSIDE_THE_NETWORK = re.compile(r"(preprocess|inference|(.+\.)?criteria)(\..+)?")


@dataclass(frozen=True, eq=False)
class TorchvisionSegmentation:
    """A network of torchvision: ``getattr(torchvision.models.segmentation, name)(**arguments)`` loads the weights.

    It takes a normalized batch, whose logits are ``["out"]``; resizing and normalizing are the caller's.

    Args:
        name: of the function in ``torchvision.models.segmentation``.
        arguments: of that function; those that equal its defaults are left out.
        state_dict: the weights, copied, with torchvision's names.
        batch_norm_epsilon: of every batch norm, which no argument sets; None: torchvision's own.
        categories: the name of each label; None if the model does not know them.
        mean: of each RGB channel in [0, 1], for ``torchvision.transforms.v2.Normalize``.
        std: of each RGB channel.
    """

    name: str
    arguments: dict[str, Any]
    state_dict: dict[str, Tensor]
    batch_norm_epsilon: float | None
    categories: list[str] | None
    mean: list[float]
    std: list[float]

    def build(self) -> nn.Module:
        """torchvision's network with these weights, in evaluation mode."""
        models = torchvision.models.segmentation
        return built(models, self.name, self.arguments, self.state_dict, self.batch_norm_epsilon)


def export_segmentation(model: SegmentationModel) -> TorchvisionSegmentation:
    """The network of torchvision with the same logits; see `to_torchvision`.

    Raises:
        InputError: torchvision has no network with these layers, or no argument for one of its settings.
    """
    has_auxiliary = len(model.auxiliary) > 0
    problems: dict[str, str] = {}
    for name, layout in LAYOUTS.items():
        try:
            tensors = layout.theirs(model.state_dict(), _names(name, has_auxiliary))
        except InputError as error:
            problems[name] = str(error)
            continue
        return _exported(model, name, tensors)
    own = type(model).__name__.lower()
    reason = "; ".join(f"for {name} {problem}" for name, problem in problems.items() if name.partition("_")[0] == own)
    raise InputError(
        f"torchvision has no network with the layers of this {type(model).__name__}{f' ({reason})' if reason else ''}: "
        f"only those of {', '.join(LAYOUTS)} can be exported"
    )


def _exported(model: SegmentationModel, name: str, tensors: Mapping[str, Tensor]) -> TorchvisionSegmentation:
    with torch.random.fork_rng(devices=[]):
        twin = BUILDERS[name](tensors)
    for setting, one in result_differences(model, twin):
        if not _OUTSIDE_THE_NETWORK.fullmatch(setting):
            raise InputError(
                f"torchvision's {name} has no argument for settings of this {type(model).__name__}: {setting} is "
                f"{one.value}, in torchvision {one.other}"
            )
    epsilons = set(batch_norm_epsilons(model).values())
    arguments: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": model.num_classes}
    categories = None if model.categories is None else [category.name for category in model.categories]
    return TorchvisionSegmentation(
        name,
        arguments | ({"aux_loss": True} if len(model.auxiliary) else {}),
        {key: tensor.detach().clone() for key, tensor in tensors.items()},
        epsilons.pop() if len(epsilons) == 1 else None,
        categories,
        model.preprocess.mean.flatten().tolist(),
        model.preprocess.std.flatten().tolist(),
    )


@functools.cache
def _names(name: str, has_auxiliary: bool) -> tuple[str, ...]:
    """The names of the tensors of torchvision's network `name`."""
    options = {} if name.startswith("lraspp") else {"aux_loss": has_auxiliary}
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        make = getattr(torchvision.models.segmentation, name)
        return tuple(make(weights=None, weights_backbone=None, num_classes=2, **options).state_dict())
