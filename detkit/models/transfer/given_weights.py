"""`GivenWeights`: the weights that a model begins with, and what they were trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detkit.models.vision_model import VisionModel
from detkit.structures import UNUSED_LABEL, Category, WeightsSource
from detkit.structures.categories import keypoint_category


@dataclass(frozen=True, eq=False)
class GivenWeights:
    """Weights of a model of the same architecture, perhaps with other classes.

    Args:
        source: of the weights, for messages.
        tensors: by the names of the model that they are for.
        categories: of the labels, in their order; none if the names of the classes are not known.
        constants: numbers that are no weights but that these rely on, such as anchors and pixel statistics, by the
            names of the model's buffers.
        provenance: where the weights come from.
    """

    source: str
    tensors: Mapping[str, Tensor]
    categories: Sequence[Category] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    provenance: Sequence[WeightsSource] = ()

    @classmethod
    def of(cls, model: VisionModel, source: str) -> GivenWeights:
        """All of `model`."""
        return cls(source, model.state_dict(), model.categories or (), constants_of(model), model.provenance)


def constants_of(model: VisionModel) -> dict[str, Tensor]:
    """The buffers of `model` that are not in its state dict."""
    stored = model.state_dict()
    return {name: buffer for name, buffer in model.named_buffers() if name not in stored}


def differing(constants: Mapping[str, Tensor], model: VisionModel) -> dict[str, tuple[Tensor, Tensor]]:
    """The `constants` that `model` has with other values, each with the model's."""
    own = constants_of(model)
    return {
        name: (value, own[name])
        for name, value in constants.items()
        if name in own and not (own[name].shape == value.shape and _close(value, own[name]))
    }


def names_of(categories: Sequence[Category], what: str) -> list[str]:
    """The names of the classes, or those of the keypoints; of labels without a class ``""``."""
    if what == "classes":
        return ["" if category.name == UNUSED_LABEL else category.name for category in categories]
    with_keypoints = keypoint_category(categories)
    return list(with_keypoints.keypoints) if with_keypoints else []


def _close(given: Tensor, own: Tensor) -> bool:
    return torch.allclose(given.double().cpu(), own.double().cpu(), rtol=1e-3, atol=1e-4)
