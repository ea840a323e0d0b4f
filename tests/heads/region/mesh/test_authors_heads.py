"""The branches against those of the authors: outputs, losses and gradients for the same weights.

The numbers in ``authors_heads.npz`` come from facebookresearch/meshrcnn at 2c6ecbe9 and facebookresearch/pytorch3d at
9381c401, their Python on the CPU: `VoxelRCNNConvUpsampleHead`, `FastRCNNFCHead`, `MeshRCNNGraphConvHead` and
`MeshRCNNGraphConvSubdHead` with few channels and random weights, and their losses with the weights of
``meshrcnn_R50_FPN.yaml``. Points of surfaces were not drawn at random there, but by `_centers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detkit.heads import DepthHead, Regions, VoxelHead
from detkit.heads.region.mesh.depth_head import Depths
from detkit.heads.region.mesh.refinement import Aligned, MeshRefinement
from detkit.heads.region.mesh.shape_losses import shape_losses
from detkit.heads.region.mesh.voxel_head import Voxels
from detkit.ops.meshes import SurfacePoints, vert_align
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

AUTHORS = {
    name: torch.from_numpy(value) for name, value in np.load(Path(__file__).parent / "authors_heads.npz").items()
}
PARTS = {"gconvs": "convolutions", "verts_offset": "offset"}


def _weights(prefix: str, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The authors' weights, their names changed part by part."""
    own = {name.removeprefix(f"{prefix}/"): value for name, value in AUTHORS.items() if name.startswith(f"{prefix}/")}
    own = {name: value for name, value in own.items() if name.endswith(("weight", "bias"))}
    return {".".join(names.get(part, part) for part in name.split(".")): value for name, value in own.items()}


def _centers(meshes, number, generator=None):
    """Those of all faces equally often, in place of random points; PyTorch3D has another order of faces."""
    points, normals = [], []
    for vertices, faces in zip(meshes.vertices_list(), meshes.faces_list(), strict=True):
        count = len(faces)
        corners = vertices[faces[torch.arange(number) % count]] if count else vertices.new_zeros(number, 3, 3)
        points.append(corners.mean(dim=1))
        cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals.append(torch.nn.functional.normalize(cross, dim=1))
    return SurfacePoints(torch.stack(points), torch.stack(normals), (meshes.face_counts > 0).long() * number)


def _first(name: str) -> Meshes:
    if name == "cubified":
        return Voxels(AUTHORS["voxels"].clamp(1e-6).logit(), 0.2).cubified
    sphere = icosphere(0)
    return Meshes([sphere.vertices] * 3, [sphere.faces] * 3)


def _refined(name: str, features: torch.Tensor) -> list[Meshes]:
    refinement = MeshRefinement(6, channels=4, subdivide=name == "subdivided")
    refinement.load_state_dict(_weights(name, PARTS))

    def align(meshes: Meshes, layer: nn.Linear) -> Aligned:
        seen = vert_align(features, meshes.vertices[:, :2], meshes.topology.vertex_objects)
        return Aligned(layer(seen), meshes.vertices)

    return refinement(_first(name), align)


@pytest.mark.parametrize("name", ["cubified", "subdivided"])
def test_stages_move_vertices_as_those_of_the_authors(name):
    """One of the objects has no voxel, and so no vertex."""
    stages = _refined(name, AUTHORS["features"])
    assert torch.equal(torch.stack([one.topology.vertex_counts for one in stages]), AUTHORS[f"{name}/counts"])
    for number, meshes in enumerate(stages):
        expected = AUTHORS[f"{name}/stage{number}"]
        for own, other in zip(
            meshes.vertices_list(), expected.split(meshes.topology.vertex_counts.tolist()), strict=True
        ):
            assert _as_sets_equal(own, other)


def _as_sets_equal(own: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the points of an object are the same, in whatever order: that of PyTorch3D's edges is its own."""
    if not len(own):
        return not len(other)
    distances = torch.cdist(own.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return bool(distances.amin(dim=0).max() < 1e-5) and bool(distances.amin(dim=1).max() < 1e-5)


@pytest.mark.parametrize(("name", "number"), [("cubified", 624), ("subdivided", 320)])
def test_losses_and_their_gradient_are_those_of_the_authors(name, number, monkeypatch):
    monkeypatch.setattr(Meshes, "sample_points", _centers)
    features = AUTHORS["features"].clone().requires_grad_()
    truth = Meshes(list(AUTHORS["truth_vertices"]), [AUTHORS["truth_faces"]] * 3)
    losses = shape_losses(_refined(name, features), truth.sample_points(60), number)
    weighted = torch.stack([losses["chamfer"], 0.1 * losses["normals"], losses["edge"]])
    assert torch.allclose(weighted.double(), AUTHORS[f"{name}/losses"], rtol=2e-4)
    weighted.sum().backward()
    expected = AUTHORS[f"{name}/gradient"]
    assert expected.abs().max() > 0.01
    assert torch.allclose(features.grad, expected, atol=2e-4 * float(expected.abs().max()))


def _crop(values: torch.Tensor):
    return lambda regions, resolution: values


def test_voxels_are_those_of_the_authors():
    names = {"deconv": "deconvolution", "predictor": "logits"} | {
        f"voxel_fcn{number + 1}": f"convolutions.{number}" for number in range(4)
    }
    head = VoxelHead(6, 3, channels=4, resolution=4)
    head.load_state_dict(_weights("voxel", names))
    logits = head(_crop(AUTHORS["voxel/crops"]), None, {}, None).logits
    assert torch.allclose(logits, AUTHORS["voxel/logits"], atol=1e-5)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.detach(), AUTHORS["voxel/target"].float())
    assert float(3 * loss) == pytest.approx(float(AUTHORS["voxel/loss"]), rel=1e-5)


def test_depths_are_those_of_the_authors():
    names = {"z_fc1": "layers.fc6", "z_fc2": "layers.fc7", "z_pred": "log_extents"}
    head = DepthHead(6, 3, resolution=3, hidden=6)
    head.load_state_dict(_weights("depth", names))
    raw = head(_crop(AUTHORS["depth/crops"]), None, {}, None)
    assert torch.allclose(raw.log_extents, AUTHORS["depth/raw"], atol=1e-5)
    boxes, labels = AUTHORS["depth/boxes"], AUTHORS["depth/labels"]
    regions = Regions(boxes, torch.zeros(4, dtype=torch.int64), labels)
    # Their prediction is in heights of the box.
    expected = AUTHORS["depth/decoded"] * (boxes[:, 3] - boxes[:, 1])
    assert (AUTHORS["depth/decoded"] > 62.4).any()  # one is clamped
    assert torch.allclose(Depths(20 * raw.log_extents).pixels(regions), expected, rtol=1e-4)
