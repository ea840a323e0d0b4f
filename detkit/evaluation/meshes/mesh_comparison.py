"""Meshes compared pair by pair, by points of their surfaces (Gkioxari et al., "Mesh R-CNN", ICCV 2019, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.meshes.given_meshes import check_predicted_meshes, check_true_meshes
from detkit.evaluation.meshes.mesh_protocol import MESH_RCNN, SAMPLES, MeshProtocol
from detkit.ops.meshes import SurfacePoints, nearest_neighbors, sample_points
from detkit.structures.meshes import Meshes

BLOCK = 32
"""Pairs whose points are held at once: 15 MB of 10,000 points each."""


@dataclass(frozen=True, eq=False)
class MeshComparison:
    """N predicted meshes compared with true ones. A prediction without faces has no distances: there they are NaN.

    Args:
        chamfer: ``(N,)`` float64, the mean squared distance to the nearest point, both ways added, in squared units of
            the protocol.
        normal_consistency: ``(N,)`` the mean cosine between the normals of nearest points, the mean of both ways, in
            [-1, 1].
        abs_normal_consistency: ``(N,)`` likewise of the cosines' absolute values, in [0, 1].
        precision: ``(N, T)`` the share of predicted points that are nearer to the true mesh than each threshold; 0
            without faces.
        recall: ``(N, T)`` the share of true points that are nearer to the prediction; 0 without faces.
        is_empty: bool ``(N,)`` whether the prediction has no faces.
    """

    chamfer: np.ndarray
    normal_consistency: np.ndarray
    abs_normal_consistency: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    is_empty: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """``(N, T)`` the harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)


@torch.no_grad()
def compare_meshes(
    predicted: Meshes,
    true: Meshes,
    protocol: MeshProtocol = MESH_RCNN,
    samples: int = SAMPLES,
    seeds: Sequence[int] | None = None,
) -> MeshComparison:
    """Compare predicted meshes with true ones, pair by pair.

    Points are drawn on the CPU, so that they are the same on every device; their neighbors are searched where the
    predicted meshes are. The points of at most 32 pairs are held at once.

    Args:
        predicted: N objects.
        true: N objects in the same frame and units, each with faces.
        protocol: scale and thresholds.
        samples: points of each mesh, uniform by area.
        seeds: of each pair's points; the numbers of a pair do not depend on the others. None: 0 to N - 1.

    Raises:
        InputError: the numbers of meshes differ, a true mesh has no faces or no area, or a vertex is not finite.
    """
    seeds = range(len(true)) if seeds is None else seeds
    if not len(predicted) == len(true) == len(seeds):
        raise InputError(
            f"compare_meshes: {len(predicted)} predicted meshes, {len(true)} true ones and {len(seeds)} seeds; give as "
            "many of each"
        )
    if samples < 1:
        raise InputError(f"compare_meshes: samples is {samples}; draw at least 1 point of each mesh")
    check_predicted_meshes(predicted, "predicted mesh")
    check_true_meshes(true, "true mesh")
    scaled, scaled_truth = scaled_pairs(predicted, true, protocol)
    is_empty = np.array([len(faces) == 0 for _, faces in scaled], dtype=bool)
    filled = np.flatnonzero(~is_empty)
    rows = [np.zeros((0, 3 + 2 * len(protocol.thresholds)))]
    for block in np.split(filled, range(BLOCK, len(filled), BLOCK)):
        drawn = [_drawn(scaled[i], scaled_truth[i], samples, seeds[i]) for i in block]
        if drawn:
            sides = [_stacked([pair[side] for pair in drawn], predicted.vertices.device) for side in (0, 1)]
            rows.append(point_metrics(sides[0], sides[1], protocol.thresholds))
    values = np.zeros((len(true), rows[0].shape[1]))
    values[:, :3] = np.nan
    values[filled] = np.concatenate(rows)
    precision, recall = np.split(values[:, 3:], 2, axis=1)
    return MeshComparison(values[:, 0], values[:, 1], values[:, 2], precision, recall, is_empty)


def point_metrics(predicted: SurfacePoints, true: SurfacePoints, thresholds: Sequence[float]) -> np.ndarray:
    """Compare the points of N pairs: float64 ``(N, 3 + 2 T)``: chamfer, both normal consistencies, precision at each
    threshold, recall at each."""
    squared, cosines, shares = [], [], []
    for queries, points in ((predicted, true), (true, predicted)):
        nearest = nearest_neighbors(queries.points, points.points, points.counts)
        normals = points.normals.gather(1, nearest.indices[..., None].expand(-1, -1, 3))
        squared.append(nearest.squared_distances.double().mean(1))
        cosines.append((queries.normals * normals).sum(2).double())
        distances = nearest.squared_distances.sqrt()
        shares += [(distances < threshold).double().mean(1) for threshold in thresholds]
    consistency = (cosines[0].mean(1) + cosines[1].mean(1)) / 2
    absolute = (cosines[0].abs().mean(1) + cosines[1].abs().mean(1)) / 2
    columns = torch.stack([squared[0] + squared[1], consistency, absolute, *shares], dim=1)
    values: np.ndarray = columns.cpu().numpy()
    return values


def scaled_pairs(
    predicted: Meshes, true: Meshes, protocol: MeshProtocol
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Vertices, float32, and faces of each mesh on the CPU, moved alike so that the true one's bounding box is around 0
    (far away, float32 would lose digits), then scaled."""
    pairs: tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]] = ([], [])
    sides = [meshes.to("cpu", torch.float64) for meshes in (predicted, true)]
    lists = [zip(side.vertices_list(), side.faces_list(), strict=True) for side in sides]
    for (vertices, faces), (true_vertices, true_faces) in zip(*lists, strict=True):
        low, high = true_vertices.aminmax(dim=0)
        factor = protocol.factor
        if protocol.longest_edge is not None:
            factor = protocol.longest_edge / float((high - low).max())
        center = (low + high) / 2
        pairs[0].append((((vertices - center) * factor).float(), faces))
        pairs[1].append((((true_vertices - center) * factor).float(), true_faces))
    return pairs


def _drawn(
    predicted: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor], samples: int, seed: int
) -> list[SurfacePoints]:
    """The points of a pair."""
    generator = torch.Generator().manual_seed(seed)
    return [
        sample_points(vertices, faces, torch.tensor([len(faces)]), samples, generator)
        for vertices, faces in (predicted, true)
    ]


def _stacked(drawn: Sequence[SurfacePoints], device: torch.device) -> SurfacePoints:
    """The points of several objects, one after another, on `device`."""
    points, normals, counts = (torch.cat(parts).to(device) for parts in zip(*drawn, strict=True))
    return SurfacePoints(points, normals, counts)
