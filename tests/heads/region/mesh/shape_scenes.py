"""Two images with ellipsoids in space, their exact boxes, and the contexts in which branches see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from detkit.geometry import Placement
from detkit.heads import Context, Regions
from detkit.heads.region.mesh.depth_head import Depths
from detkit.preprocess import Batch
from detkit.structures import Meshes, PointClouds, Target
from detkit.structures.meshes import icosphere

SIZE = (60, 80)
CAMERA = torch.tensor([[90.0, 0, 38], [0, 90, 31], [0, 0, 1]])
PLACEMENT = Placement.resize(SIZE, (90, 160))  # scales x and y differently


def project(points: torch.Tensor, camera: torch.Tensor = CAMERA) -> torch.Tensor:
    seen = points.double() @ camera.double().T
    return seen[:, :2] / seen[:, 2:]


def scene(seed: int = 0, counts: tuple[int, ...] = (2, 3)) -> list[Target]:
    """A target for each image, with so many objects, in pixels of the images as given."""
    random, sphere = np.random.default_rng(seed), icosphere(2)
    steps = torch.linspace(-0.98, 0.98, 24)
    lattice = torch.cartesian_prod(steps, steps, steps)
    lattice, targets = lattice[lattice.norm(dim=1) < 1], []
    for image, count in enumerate(counts):
        meshes, points = [], []
        for _ in range(count):
            radii = torch.from_numpy(random.uniform(0.3, 0.6, 3))
            center = torch.from_numpy(random.uniform((-0.8, -0.5, 3), (0.8, 0.5, 5)))
            meshes.append((sphere.vertices * radii + center).float())
            points.append((lattice * radii + center).float())
        seen = [project(own) for own in meshes]
        boxes = torch.stack([torch.cat((own.amin(dim=0), own.amax(dim=0))) for own in seen]).float()
        targets.append(
            Target(
                boxes,
                torch.arange(count) % 3,
                camera=CAMERA,
                image_id=f"image {image}",
                meshes=Meshes(meshes, [sphere.faces] * count),
                voxels=PointClouds(points),
            )
        )
    return targets


def context_of(targets: list[Target], placement: Placement = PLACEMENT, learning: bool = True) -> Context:
    """The batch of the images, with their targets or, as at inference, with their cameras alone."""
    moved = [one.moved_to_network(placement) for one in targets]
    images = torch.zeros(len(targets), 3, *placement.size)
    given = [Target(camera=one.camera) for one in moved]
    generator = torch.Generator().manual_seed(0)
    return Context(Batch(images, [placement] * len(targets)), moved if learning else None, given, generator)


def regions_of(context: Context) -> Regions:
    """The boxes of the objects themselves, sampled as foreground."""
    targets = [one.objects() for one in context.truth]
    labels = torch.cat([one.labels for one in targets])
    regions = Regions.of_images([one.boxes for one in targets], [one.labels for one in targets])
    return replace(regions, matched=torch.arange(len(labels)), foreground_counts=regions.counts)


def crop_of(values: torch.Tensor | None = None, channels: int = 4, seed: int = 0):
    """Random crops, the same at every call, or given ones."""

    def crop(regions, resolution):
        generator = torch.Generator().manual_seed(seed)
        made = torch.randn(len(regions), channels, resolution, resolution, generator=generator)
        return made if values is None else values

    return crop


def true_depths(regions: Regions, context: Context) -> Depths:
    """Those that a perfect depth head gives for the regions of `context`."""
    depths = [own[:, 2] for target in context.truth for own in target.objects().meshes.vertices_list()]
    near, far = torch.stack([own.amin() for own in depths]), torch.stack([own.amax() for own in depths])
    focal = torch.cat([one.camera[1, 1].expand(len(one)) for one in context.truth])
    heights = regions.boxes[:, 3] - regions.boxes[:, 1]
    log_extents = (2 * (far - near) / (far + near) * focal / heights).log()
    return Depths(log_extents[:, None].expand(-1, 3))
