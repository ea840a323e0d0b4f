"""Region feature extractors: from the crop of a region to the vector that a box head classifies and regresses.

R  regions of a batch     C  channels of a crop
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones import Backbone
from detkit.backbones.frozen_batch_norm import scale_and_shift
from detkit.backbones.pretrained import read_state_dict
from detkit.backbones.torchvision_backbone import published_net
from detkit.backbones.weights_sources import torchvision_source
from detkit.errors import InputError
from detkit.heads.context import Regions
from detkit.heads.region.region_branch import Crop
from detkit.ops import is_exporting
from detkit.structures import WeightsSource

# R-CNN's 2000 warped regions of each image go through the network in parts of this many, to limit memory.
_REGIONS_AT_ONCE = 256


class RegionFeatureExtractor(nn.Module):
    """Crops ``(R, C, resolution, resolution)`` in, vectors ``(R, out_channels)`` out.

    A box head builds it as ``extractor(in_channels, resolution)``. Further arguments come from the config.

    Attributes:
        out_channels: length of a region's vector.
    """

    out_channels: int

    def forward(self, region_features: Tensor) -> Tensor:
        """The vectors of the regions."""
        raise NotImplementedError

    def vectors(self, crop: Crop, regions: Regions) -> Tensor:
        """The vectors of `regions`, cropped by `crop`."""
        vectors: Tensor = self(crop(regions))
        return vectors


class TwoFullyConnected(RegionFeatureExtractor):
    """``fc6`` and ``fc7``, as in VGG-16 and AlexNet (Fast R-CNN, section 2; FPN, section 4.2).

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in cells.
        hidden: width of both layers.
        layer_norm: use layer norm after each layer, recommended for training from random weights. Unlike batch norm it
            works with few or no regions in a batch.
        dropout: probability of dropping a value after each layer, as in the classification nets.
        weights: the name of a torchvision classifier with these two layers (``vgg16``, ``alexnet``), whose published
            weights are downloaded, or the path of a weights file with torchvision's names; None is random weights.

    Raises:
        InputError: the weights have no two layers of these sizes.
    """

    fc6: nn.Linear | nn.Sequential
    fc7: nn.Linear | nn.Sequential

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        hidden: int = 1024,
        layer_norm: bool = False,
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        fc6, fc7 = nn.Linear(in_channels * resolution**2, hidden), nn.Linear(hidden, hidden)
        self.fc6, self.fc7 = fc6, fc7
        self.norm6 = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.norm7 = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.out_channels = hidden
        if weights is not None:
            _load_layers((fc6, fc7), weights)
            self.weights_source = _source(weights)

    def forward(self, region_features: Tensor) -> Tensor:
        """The vectors ``(R, hidden)`` of the crops."""
        hidden = self.dropout(F.relu(self.norm6(self.fc6(region_features.flatten(1)))))
        vectors: Tensor = self.dropout(F.relu(self.norm7(self.fc7(hidden))))
        return vectors

    def compress(self, rank6: int, rank7: int) -> None:
        """Replace each layer by two smaller ones by truncated SVD, for faster inference (Fast R-CNN, section 3.1).

        Args:
            rank6: singular values of `fc6` to keep; the paper keeps 1024 of 4096.
            rank7: singular values of `fc7` to keep; the paper keeps 256.

        Raises:
            InputError: a rank is out of range, or the layers are compressed already.
        """
        self.fc6, self.fc7 = _truncated(self.fc6, rank6, "rank6"), _truncated(self.fc7, rank7, "rank7")


class ConvolutionsThenFullyConnected(RegionFeatureExtractor):
    """Four 3x3 convolutions with batch norm, then one fully connected layer (Wu & He 2018, section 5.2: "4conv1fc").

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in cells.
        channels: channels of the convolutions.
        convolutions: number of convolutions.
        hidden: width of the fully connected layer.
    """

    def __init__(
        self, in_channels: int, resolution: int, channels: int = 256, convolutions: int = 4, hidden: int = 1024
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convolutions
        self.convolutions = nn.Sequential(*(_convolution(before, after) for before, after in pairwise(widths)))
        self.fc = nn.Linear(widths[-1] * resolution**2, hidden)
        self.out_channels = hidden

    def forward(self, region_features: Tensor) -> Tensor:
        """The vectors ``(R, hidden)`` of the crops."""
        return F.relu(self.fc(self.convolutions(region_features).flatten(1)))


class AveragePool(RegionFeatureExtractor):
    """The mean over a crop, for crops that went through the last stage of the backbone (He 2015, appendix A).

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in cells; without effect.
    """

    def __init__(self, in_channels: int, resolution: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, region_features: Tensor) -> Tensor:
        """The vectors ``(R, in_channels)`` of the crops."""
        return region_features.mean(dim=(2, 3))


class RegionNetwork(RegionFeatureExtractor):
    """A whole network on each crop of pixels (R-CNN, section 2.1).

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in pixels.
        backbone: the network, whose last map is used.
        layers: called with the channels and the resolution of that map; makes a vector of it.
    """

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        backbone: Backbone,
        layers: Callable[[int, int], RegionFeatureExtractor] = AveragePool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = layers(backbone.channels[-1], _cells(backbone, in_channels, resolution))
        self.out_channels = self.layers.out_channels

    def forward(self, region_features: Tensor) -> Tensor:
        """The vectors of the crops ``(R, in_channels, resolution, resolution)``."""
        vectors: Tensor = self.layers(self.backbone(region_features)[-1])
        return vectors

    def vectors(self, crop: Crop, regions: Regions) -> Tensor:
        """The vectors of `regions`: all at once for a sample or a graph, in parts for the proposals of an image."""
        if regions.is_present is not None or regions.labels is not None or not len(regions):
            return super().vectors(crop, regions)
        starts = range(0, len(regions), _REGIONS_AT_ONCE)
        return torch.cat([self(crop(regions[start : start + _REGIONS_AT_ONCE])) for start in starts])


class RegionBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that also takes a batch without regions, which has no statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the crops ``(R, C, H, W)``."""
        if is_exporting() or len(x):
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The factor and the offset ``(C,)`` of each channel at inference."""
        return scale_and_shift(self)


@torch.no_grad()
def _cells(backbone: Backbone, in_channels: int, resolution: int) -> int:
    """The height and width of the last map for crops of `resolution`."""
    training = backbone.training
    maps: list[Tensor] = backbone.eval()(torch.zeros(1, in_channels, resolution, resolution))
    backbone.train(training)
    return maps[-1].shape[-1]


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, RegionBatchNorm2d(out_channels), nn.ReLU())


def _load_layers(layers: Sequence[nn.Linear], weights: str) -> None:
    """Load the first fully connected layers of a torchvision classifier or a weights file."""
    if weights in torchvision.models.list_models(module=torchvision.models):
        state_dict = published_net(weights).state_dict()
    else:
        state_dict = read_state_dict(weights)
    matrices = [name for name, tensor in state_dict.items() if name.startswith("classifier.") and tensor.ndim == 2]
    for layer, name in zip(layers, matrices, strict=False):
        if state_dict[name].shape != layer.weight.shape:
            raise InputError(
                f"{weights}: {name} has shape {tuple(state_dict[name].shape)}, but {tuple(layer.weight.shape)} "
                "is needed: set hidden and the resolution of the crops to those it was trained with"
            )
    if len(matrices) < len(layers):
        raise InputError(f"{weights} has no two fully connected layers named classifier.*")
    with torch.no_grad():
        for layer, name in zip(layers, matrices, strict=False):
            layer.weight.copy_(state_dict[name])
            layer.bias.copy_(state_dict[name.replace(".weight", ".bias")])


def _source(weights: str) -> WeightsSource:
    is_published = weights in torchvision.models.list_models(module=torchvision.models)
    return torchvision_source(weights) if is_published else WeightsSource.of_file("fully connected layers", weights)


def _truncated(layer: nn.Module, rank: int, name: str) -> nn.Sequential:
    if not isinstance(layer, nn.Linear):
        raise InputError("the layers are compressed already: load or build the model again for another rank")
    if not 1 <= rank <= min(layer.weight.shape):
        raise InputError(f"{name} must lie in 1..{min(layer.weight.shape)}, got {rank}")
    left, values, right = torch.linalg.svd(layer.weight.detach().float(), full_matrices=False)
    first = nn.Linear(layer.in_features, rank, bias=False, device=layer.weight.device)
    second = nn.Linear(rank, layer.out_features, device=layer.weight.device)
    with torch.no_grad():
        first.weight.copy_(values[:rank, None] * right[:rank])
        second.weight.copy_(left[:, :rank])
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).to(layer.weight.dtype)
