"""`from_torchvision`: importing torchvision's detectors and networks for segmentation, weight for weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, overload

import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detkit.backbones.frozen_batch_norm import set_batch_norm_epsilon
from detkit.backbones.pretrained import download
from detkit.backbones.published import torchvision_file
from detkit.backbones.weights_sources import torchvision_source
from detkit.errors import InputError
from detkit.models import Detector, SegmentationModel, VisionModel
from detkit.object_config import config_of, record_config
from detkit.structures import Category, WeightsSource
from detkit.weights import torchvision_dense, torchvision_pixel, torchvision_ssd, torchvision_two_stage
from detkit.weights.published_categories import torchvision_categories
from detkit.weights.state_dict import checked_tensors

BUILDERS: dict[str, Callable[[Mapping[str, Tensor]], Detector]] = {
    **torchvision_two_stage.BUILDERS,
    **torchvision_ssd.BUILDERS,
    **torchvision_dense.BUILDERS,
}
"""By torchvision's name, a function from its state dict to the detkit detector with these weights."""

DetectorName = Literal[
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
]
"""The names of `BUILDERS`, for type checkers."""


@overload
def from_torchvision(
    name: DetectorName, state_dict: Mapping[str, Tensor] | None = None, weights: str | None = None
) -> Detector: ...
@overload
def from_torchvision(
    name: torchvision_pixel.SegmentationName,
    state_dict: Mapping[str, Tensor] | None = None,
    weights: str | None = None,
) -> SegmentationModel: ...
@overload
def from_torchvision(
    name: str, state_dict: Mapping[str, Tensor] | None = None, weights: str | None = None
) -> VisionModel: ...
def from_torchvision(
    name: str, state_dict: Mapping[str, Tensor] | None = None, weights: str | None = None
) -> VisionModel:
    """A detkit model with the same detections or label maps, and losses, as torchvision's with the same weights.

    A detector's label ``c`` of torchvision is detkit's ``c - 1``; its background class 0 becomes the last logit. Its
    batch norm is trained if `state_dict` has its ``num_batches_tracked``, as in a model made without pretrained
    weights; otherwise it is frozen. In segmentation labels are the same, since background is a class there, and images
    keep their size.

    Args:
        name: a function of ``torchvision.models.detection`` or ``torchvision.models.segmentation``, of `BUILDERS` or
            of `detkit.weights.torchvision_pixel.BUILDERS`.
        state_dict: weights with torchvision's names, also with those of its older releases.
        weights: the name of published weights, which torchvision downloads: ``DEFAULT``, ``COCO_V1`` and the like.

    Raises:
        InputError: unknown name, both or neither of `state_dict` and `weights`, or tensors that do not fit.
    """
    builders = {**BUILDERS, **torchvision_pixel.BUILDERS}
    if name not in builders:
        raise InputError(f"cannot import torchvision's {name!r}, only {', '.join(builders)}")
    if (state_dict is None) == (weights is None):
        raise InputError("from_torchvision needs either a state_dict or the name of published weights")
    categories, epsilon = None, None
    tensors: Mapping[str, Tensor] = {}
    if state_dict is not None:
        tensors = checked_tensors(state_dict, f"torchvision's {name}")
    if weights is not None:
        make = torchvision.models.get_model_builder(name)
        published = download(name, lambda: make(weights=weights), torchvision_file(name, weights))
        tensors, epsilon = published.state_dict(), _batch_norm_epsilon(published)
        categories = categories_of(name, weights)
    model = builders[name](tensors)
    if epsilon is not None:  # 0 for some models, which torchvision restores after loading
        _set_epsilon_of_backbone(model, epsilon)
    model.categories = categories
    model.provenance = [
        torchvision_source(name, weights)
        if weights is not None
        else WeightsSource(f"torchvision {name}", "a state dict", "unknown: a state dict does not say")
    ]
    return model


def categories_of(name: str, weights: str = "DEFAULT") -> list[Category]:
    """Those of the published `weights` of torchvision's model `name`; background is one of them in segmentation."""
    has_background = name in torchvision_pixel.BUILDERS
    return torchvision_categories(torchvision.models.get_model_weights(name)[weights].meta, has_background)


def _batch_norm_epsilon(model: nn.Module) -> float | None:
    return next((module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)), None)


def _set_epsilon_of_backbone(model: VisionModel, epsilon: float) -> None:
    """Set epsilon in the batch norms of the backbone, and record it, so that the config of `model` builds it."""
    backbone = model.get_submodule("backbone")
    set_batch_norm_epsilon(backbone, epsilon)
    config, own = config_of(model), config_of(backbone)
    own = {**own, "init_args": {**own["init_args"], "batch_norm_epsilon": epsilon}}
    record_config(model, {**config, "init_args": {**config["init_args"], "backbone": own}})
