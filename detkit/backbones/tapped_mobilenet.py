"""SSDlite's backbone: a MobileNet of torchvision that also returns a map from inside a block."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detkit.backbones.backbone import Backbone, freeze
from detkit.backbones.frozen_batch_norm import freeze_batch_norm
from detkit.backbones.pretrained import LoadReport, download, load_matching, read_state_dict
from detkit.backbones.published import torchvision_file
from detkit.backbones.torchvision_backbone import create_net
from detkit.backbones.weights_sources import classifier_source
from detkit.deprecation import moved_names
from detkit.errors import InputError

BatchNorm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
"""Batch norm with the settings of TensorFlow's and torchvision's SSDlite."""

NormalizedConvolution = partial(Conv2dNormActivation, norm_layer=BatchNorm, activation_layer=nn.ReLU6)
"""A convolution with batch norm and ReLU6, as in SSDlite's own layers."""


def init_ssdlite_(layers: nn.Module) -> nn.Module:
    """Initialize `layers` as TensorFlow's SSDlite does, with a normal distribution of standard deviation 0.03."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return layers


class TappedMobileNet(Backbone):
    """Returns the expanded map of stride 16 and the last map (Sandler 2018, section 6.2; Howard 2019, section 6.3).

        images -> blocks -> expansion of the last block with a stride -+-> its depthwise convolution … end -> map
                                                                       +-> map

    The block from stride 16 to 32 starts with a 1x1 convolution that expands the channels. SSDlite's finest map is the
    output of that convolution, which `TorchvisionBackbone`, with the outputs of whole blocks, does not return.

    Args:
        name: the MobileNet of torchvision.
        weights: None for random weights, ``DEFAULT`` for torchvision's best, or the path of a weights file with
            torchvision's names.
        reduced_tail: halve the channels of the blocks of stride 32 (Howard 2019, section 6.3), which needs weights
            trained that way; MobileNetV3 only.
        frozen_stages: blocks with stride up to ``2^frozen_stages`` are not trained; 0 trains all.
        frozen_batch_norm: use batch norm with its stored statistics, not trained.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: a weights file that does not fit, or a net without a reduced tail.
    """

    def __init__(
        self,
        name: Literal["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"] = "mobilenet_v3_large",
        weights: str | None = None,
        reduced_tail: bool = False,
        frozen_stages: int = 0,
        frozen_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {}
        if name.startswith("mobilenet_v3"):
            options = {"norm_layer": BatchNorm, "reduced_tail": reduced_tail}
        if reduced_tail and not options:
            raise InputError(f"{name} has no reduced tail: leave reduced_tail out, or choose a MobileNetV3")
        published = weights == "DEFAULT"
        create = partial(create_net, name, **options)
        net = download(name, partial(create, weights="DEFAULT"), torchvision_file(name)) if published else create()
        self.load_report: LoadReport | None = None
        if weights is not None and not published:
            self.load_report = load_matching(net, read_state_dict(weights), source=str(weights))
        self.weights_source = None if weights is None else classifier_source(name, weights)
        blocks: list[Any] = list(net.get_submodule("features").children())
        strided = [index for index, block in enumerate(blocks) if index == 0 or getattr(block, "_is_cn", False)]
        if frozen_stages:
            end = strided[frozen_stages] if frozen_stages < len(strided) else len(blocks)
            freeze(parameter for block in blocks[:end] for parameter in block.parameters())
        tapped = next(blocks[strided[-1]].children())
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*blocks[: strided[-1]], tapped[0]),
                nn.Sequential(tapped[1:], *blocks[strided[-1] + 1 :]),
            ]
        )
        self.channels, self.strides = [tapped[0].out_channels, blocks[-1].out_channels], [16, 32]
        if frozen_batch_norm:
            freeze_batch_norm(self.stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of strides 16 and 32 of `images` ``(B, 3, H, W)``."""
        fine = self.stages[0](images)
        return [fine, self.stages[1](fine)]


__getattr__ = moved_names(__name__, {"initialized": "detkit.backbones.tapped_mobilenet.init_ssdlite_"})
