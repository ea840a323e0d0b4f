"""Convolution on the graph of a mesh: its vertices and edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.ops.checks import check_same_device, check_shape, geometry_dtype


class GraphConv(nn.Module):
    """``w0 x + sum of w1 u over the neighbors u``: a vertex and its neighbors in the mesh.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2. Weights start as N(0, 0.01), biases as 0, as in PyTorch3D, whose
    names the layers bear.

    Args:
        in_channels: channels of the given features.
        out_channels: channels of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.w0 = nn.Linear(in_channels, out_channels)
        self.w1 = nn.Linear(in_channels, out_channels)
        for layer in (self.w0, self.w1):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Convolve.

        Args:
            features: of each vertex, ``(V, in_channels)``.
            edges: undirected, each once, ``(E, 2)`` int64, such as `mesh_edges` gives.

        Returns:
            ``(V, out_channels)`` in the dtype of a linear layer (under autocast that of autocast). Neighbors are summed
            in at least float32.

        Raises:
            InputError: shape or device does not fit.
        """
        check_shape("features", features, ("V", self.w0.in_features))
        check_shape("edges", edges, ("E", 2))
        check_same_device(features=features, edges=edges)
        own: Tensor = self.w0(features)
        neighbor: Tensor = self.w1(features)
        start, end = edges.unbind(1)
        dtype = geometry_dtype(own)
        total = own.to(dtype).index_add(0, torch.cat([start, end]), neighbor[torch.cat([end, start])].to(dtype))
        return total.to(own.dtype)
