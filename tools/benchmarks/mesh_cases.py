"""Operators on meshes, timed beside the same in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.paired_times import Case
from detkit.ops.meshes import nearest_neighbors

SIZES = ((1, 5_000), (8, 5_000), (1, 10_000))  # objects, and points of each of their clouds


def mesh_cases() -> list[Case]:
    """Nearest neighbors of points on two surfaces, against `torch.cdist`; with one object also in training."""
    cases = []
    for objects, count in SIZES:
        clouds = surface(objects, count), surface(objects, count) * 1.1 + 0.1
        queries, points = (cloud.clone().requires_grad_() for cloud in clouds)
        counts = torch.full((objects,), count)
        label = f"nearest_neighbors, {objects} x {count} x {count} (cdist)"
        cases.append(Case(label, partial(distances, *clouds, counts), partial(distances_by_cdist, *clouds)))
        if objects == 1:
            ours, theirs = partial(distances, queries, points, counts), partial(distances_by_cdist, queries, points)
            cases.append(
                Case(
                    f"{label}, with backward",
                    partial(trained, ours, queries, points),
                    partial(trained, theirs, queries, points),
                )
            )
    return cases


def distances(queries: Tensor, points: Tensor, counts: Tensor) -> Tensor:
    return nearest_neighbors(queries, points, counts).squared_distances


def distances_by_cdist(queries: Tensor, points: Tensor) -> Tensor:
    """Distances, not squared."""
    return torch.cdist(queries, points).min(-1).values


def trained(run: Callable[[], Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(run().sum(), inputs)


def surface(objects: int, count: int) -> Tensor:
    """Points on unit spheres, ``(objects, count, 3)``."""
    return torch.nn.functional.normalize(torch.randn(objects, count, 3), dim=2)
