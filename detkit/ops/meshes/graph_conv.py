"""Convolution on the graph of a mesh: its vertices and edges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        dtype = geometry_dtype(own)
        total = own.to(dtype) + sum_of_neighbors(neighbor.to(dtype), edges)
        return total.to(own.dtype)


def sum_of_neighbors(features: Tensor, edges: Tensor) -> Tensor:
    """The sum of the features ``(V, C)`` of the other ends of each vertex's edges ``(E, 2)``: ``(V, C)``."""
    start, end = edges.unbind(1)
    vertex, order = torch.cat([start, end]).sort()
    first = torch.searchsorted(vertex, torch.arange(len(features), device=features.device))
    total: Tensor = _NeighborSum.apply(features, torch.cat([end, start])[order], first)
    return total


class _NeighborSum(torch.autograd.Function):
    """Sums rows that are listed vertex by vertex, which holds no row for each end of an edge.

    Edges have no direction, so the gradient is the same sum of the gradients.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbors: Tensor, first: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors, first)
        return F.embedding_bag(neighbors, features, first, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _NeighborSum.apply(gradient.contiguous(), *ctx.saved_tensors), None, None
