"""What is known of published weights of classification nets: their name, address and license."""

from __future__ import annotations

from typing import Any

import timm
import torchvision

from detkit.structures import WeightsSource

OF_TORCHVISION = (
    "unknown: torchvision's code is BSD-3-Clause, and of its pre-trained models it says that they may have licenses or "
    "terms derived from the data set used for training"
)
"""What torchvision's README says of its models, except for those with a license of their own."""


def torchvision_source(name: str, weights: str = "DEFAULT") -> WeightsSource:
    """The published `weights` of torchvision's network or detector `name`."""
    entry: Any = torchvision.models.get_model_weights(name)[weights]
    return WeightsSource(f"torchvision {name} {entry.name}", entry.url, entry.meta.get("license") or OF_TORCHVISION)


def timm_source(name: str) -> WeightsSource:
    """The default weights of timm's model `name`, with the license in timm's own description of them."""
    config: Any = timm.get_pretrained_cfg(name)
    address = config.hf_hub_id or config.url or "timm"
    full_name = f"{config.architecture or name}.{config.tag}" if config.tag else name
    return WeightsSource(f"timm {full_name}", str(address), config.license or "unknown: timm states none")


def classifier_source(name: str, weights: str) -> WeightsSource:
    """The `weights` of the classification network `name`: ``DEFAULT`` of its library, or a file."""
    if weights != "DEFAULT":
        return WeightsSource.of_file(name, weights)
    is_torchvision = name in torchvision.models.list_models(module=torchvision.models)
    return torchvision_source(name) if is_torchvision else timm_source(name)
