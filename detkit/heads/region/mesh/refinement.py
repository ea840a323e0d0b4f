"""Stages that move the vertices of meshes by what the image shows there (Mesh R-CNN, section 3.2).

V  vertices of all objects     C  channels of the image's features
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.ops.meshes import GraphConv
from detkit.precise import precise
from detkit.structures import Meshes
from detkit.structures.meshes import subdivided, subdivided_values


class Aligned(NamedTuple):
    """What a stage reads at each vertex.

    Args:
        features: ``(V, O)``, those of the image where it shows the vertex, after a linear layer with O outputs.
        positions: ``(V, 3)``, the coordinates that go with them.
    """

    features: Tensor
    positions: Tensor


Align = Callable[[Meshes, nn.Linear], Aligned]
"""Reads the image at the vertices of meshes, through a linear layer. Sampling is linear too, so that the layer may go
before it, see `through`: maps have fewer cells than meshes have vertices, and then fewer channels."""


def through(layer: nn.Linear, maps: Tensor, first: int = 0) -> Tensor:
    """Maps ``(N, C, H, W)`` through the columns of a linear layer from `first` on, without bias: ``(N, O, H, W)``."""
    return F.conv2d(maps, layer.weight[:, first : first + maps.shape[1], None, None])


class MeshRefinement(nn.Module):
    """Stages of graph convolutions, each of which moves every vertex (Mesh R-CNN, section 3.2, "Mesh refinement").

        features (V, C) -> bottleneck, ReLU -> [features of the stage before, 128, x y z] -> 3 x [graph convolution,
        ReLU, joined with x y z] -> tanh of a linear layer -> offsets (V, 3)

    The faces of the meshes stay, except where they are subdivided. The last layer of a stage starts as 0: an untrained
    stage moves nothing.

    Args:
        in_channels: channels C of the image's features.
        channels: of the hidden layers.
        stages: how many.
        convolutions: graph convolutions of a stage.
        subdivide: make four faces of each between the stages, and give new vertices the mean features of their edge's
            ends (Pixel2Mesh+, section 4.1).
    """

    def __init__(
        self, in_channels: int, channels: int = 128, stages: int = 3, convolutions: int = 3, subdivide: bool = False
    ) -> None:
        super().__init__()
        carried = [0] + [channels] * (stages - 1)
        self.stages = nn.ModuleList(RefinementStage(in_channels, own, channels, convolutions) for own in carried)
        self.subdivide = subdivide

    def forward(self, meshes: Meshes, align: Align) -> list[Meshes]:
        """The meshes after each stage; those without vertices stay so.

        Args:
            meshes: to begin with.
            align: reads the image at the vertices of meshes, see `Align`.
        """
        refined: list[Meshes] = []
        features: Tensor | None = None
        for stage in self.stages:
            assert isinstance(stage, RefinementStage)
            if self.subdivide and features is not None:
                meshes, features = subdivided(meshes), subdivided_values(meshes, features)
            offsets, features = stage(align(meshes, stage.bottleneck), meshes.edges, features)
            meshes = meshes.with_vertices(meshes.vertices + precise(offsets))
            refined.append(meshes)
        return refined


class RefinementStage(nn.Module):
    """One stage of `MeshRefinement`.

    Args:
        in_channels: channels of the image's features.
        carried: channels that come from the stage before; 0 for the first.
        channels: of the hidden layers.
        convolutions: how many graph convolutions.
    """

    def __init__(self, in_channels: int, carried: int, channels: int, convolutions: int) -> None:
        super().__init__()
        self.bottleneck = nn.Linear(in_channels, channels)
        widths = [carried + channels + 3] + [channels + 3] * (convolutions - 1)
        self.convolutions = nn.ModuleList(GraphConv(width, channels) for width in widths)
        self.offset = nn.Linear(channels + 3, 3)
        nn.init.normal_(self.bottleneck.weight, std=0.01)
        nn.init.zeros_(self.bottleneck.bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, aligned: Aligned, edges: Tensor, carried: Tensor | None) -> tuple[Tensor, Tensor]:
        """Offsets ``(V, 3)`` in (-1, 1), and features ``(V, channels)`` for the next stage.

        Args:
            aligned: what the image shows at the vertices, through the `bottleneck`.
            edges: of the meshes.
            carried: features of the stage before.
        """
        known = [] if carried is None else [carried]
        hidden = torch.cat([*known, F.relu(aligned.features), aligned.positions], dim=1)
        features = hidden
        for convolution in self.convolutions:
            features = F.relu(convolution(hidden, edges))
            hidden = torch.cat([features, aligned.positions], dim=1)
        return self.offset(hidden).tanh(), features
