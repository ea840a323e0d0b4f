"""`as_backbone`: a torchvision or timm backbone by its name."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import timm
import torchvision

from detkit.backbones.backbone import Backbone
from detkit.backbones.timm_backbone import TimmBackbone
from detkit.backbones.torchvision_backbone import TorchvisionBackbone
from detkit.errors import InputError


def as_backbone(
    backbone: Backbone | str, stages: Sequence[int] | None = None, output_stride: int | None = None
) -> Backbone:
    """`backbone`, or the torchvision or timm net of that name, with random weights.

    Args:
        backbone: a backbone; or a name such as ``resnet18``.
        stages: for a name, the stages to return, see `TorchvisionBackbone`; None: all from 2 (stride 4) on.
        output_stride: for a name, the largest stride of a map, by dilation; None: that of the network.

    Raises:
        InputError: it is neither, or there is no net of that name.
    """
    if isinstance(backbone, Backbone):
        return backbone
    if not isinstance(backbone, str):
        # A user's backbone need not be a subclass; channels and strides are enough, the rest is as of most.
        if hasattr(backbone, "channels") and hasattr(backbone, "strides") and callable(backbone):
            for name in ("padded", "origins"):
                if not hasattr(backbone, name):
                    setattr(backbone, name, getattr(Backbone, name))
            return backbone
        raise InputError(
            f"a backbone is a detkit.backbones.Backbone, such as TorchvisionBackbone('resnet18', stages=[3, 4, 5]), or "
            f"the name of a torchvision or timm net, got {type(backbone).__name__}"
        )
    names = torchvision.models.list_models(module=torchvision.models)
    if backbone in names:
        return TorchvisionBackbone(backbone, stages=stages, output_stride=output_stride)
    if timm.is_model(backbone):
        return TimmBackbone(backbone, stages=stages, output_stride=output_stride)
    known = dict.fromkeys([*_classes(Backbone), *names, *timm.list_models()])
    close = ", ".join(get_close_matches(backbone, known, n=3, cutoff=0.4)) or "none"
    raise InputError(
        f"the backbone {backbone!r} is neither a class of detkit.backbones nor the name of a torchvision or timm net; "
        f"close to it: {close}"
    )


def _classes(base: type) -> list[str]:
    """The names of all subclasses of `base`."""
    subclasses: list[type] = base.__subclasses__()
    return [name for kind in subclasses for name in (kind.__name__, *_classes(kind))]
