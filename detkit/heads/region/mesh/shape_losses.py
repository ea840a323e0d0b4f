"""The losses of meshes that are refined in stages (Mesh R-CNN, section 3.2, "Mesh losses")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.distributed import mean_count
from detkit.ops.meshes import SurfacePoints, chamfer_and_normal_losses, edge_length_loss
from detkit.structures import Meshes

LOSSES = ("chamfer", "normals", "edge")


def shape_losses(
    stages: Sequence[Meshes], truth: SurfacePoints, samples: int, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """``chamfer``, ``normals`` and ``edge``, each summed over the stages and not weighted.

    Args:
        stages: the meshes of the same N objects after each stage.
        truth: points of their true surfaces.
        samples: points to draw of each predicted surface.
        generator: of random numbers, on the device of the meshes; None: torch's own.

    Returns:
        ``chamfer`` and ``normals`` are means over the objects that have a surface in both, ``edge`` over all; the
        number of objects is the mean over processes. Without objects they are 0 and attached to the graph.
    """
    totals = [_losses_of(meshes, truth, samples, generator) for meshes in stages]
    return {name: torch.stack([one[number] for one in totals]).sum() for number, name in enumerate(LOSSES)}


def generator_on(device: torch.device, generator: torch.Generator | None) -> torch.Generator | None:
    """`generator`, or one on `device` that it seeds: only that of a device draws there."""
    if generator is None or generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def _losses_of(
    meshes: Meshes, truth: SurfacePoints, samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses after one stage."""
    predicted = meshes.sample_points(samples, generator)
    device, objects = meshes.vertices.device, len(meshes)
    both = ((predicted.counts > 0) & (truth.counts > 0)).sum()
    # The operators divide by all objects, those of this process.
    chamfer, normals = (
        loss * (max(1, objects) / mean_count(both)) for loss in chamfer_and_normal_losses(predicted, truth)
    )
    edge = edge_length_loss(meshes.vertices, meshes.edges, meshes.vertex_counts)
    attached = 0 * meshes.vertices.sum()
    return chamfer + attached, normals + attached, edge * (max(1, objects) / mean_count(objects, device)) + attached
