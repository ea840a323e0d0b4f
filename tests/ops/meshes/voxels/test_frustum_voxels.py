"""`frustum_voxels` against what lies inside the solid in the camera's frame."""

import pytest
import torch
from closed_meshes import box, centers, packed, sphere, winding_numbers

from detkit.errors import InputError
from detkit.ops.meshes import (
    PackedMeshes,
    from_box_frustum,
    frustum_point_voxels,
    frustum_voxels,
    object_depth_ranges,
)

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
SIZE = (10, 11, 12)


def scene(seed):
    """Three turned solids before cameras, the second one seen in two boxes: meshes, boxes, cameras."""
    generator = torch.Generator().manual_seed(seed)
    solids = []
    for vertices, faces in (sphere(1, 0.4), box((-0.3, -0.2, -0.4), (0.3, 0.2, 0.4)), sphere(0, 0.5)):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
        shift = torch.rand(3, generator=generator, dtype=torch.float64) - 0.5 + torch.tensor([0, 0, 2.5])
        solids.append((vertices @ turn.T + shift, faces))
    solids.insert(1, solids[1])
    vertices, faces, face_counts = packed(*solids)
    vertex_counts = torch.tensor([len(own) for own, _ in solids])
    cameras = torch.tensor([[300.0, 4, 160], [0, 280, 120], [0, 0, 1]], dtype=torch.float64).expand(4, 3, 3)
    projected = [own @ cameras[0].T for own, _ in solids]
    corners = [(own / own[:, 2:])[:, :2] for own in projected]
    boxes = torch.stack([torch.cat([own.amin(0), own.amax(0)]) for own in corners])
    boxes[1] += torch.tensor([10, -5, -20, 15])  # not tight
    return PackedMeshes(vertices, faces, vertex_counts, face_counts), boxes, cameras


def placed_centers(meshes, boxes, cameras):
    """The centers of the cells in the camera's frame, ``(4, D, H, W, 3)``."""
    ranges = object_depth_ranges(meshes.vertices, meshes.vertex_counts)
    points = centers(SIZE).view(-1, 3)
    counts = torch.full((len(boxes),), len(points))
    return from_box_frustum(points.repeat(len(boxes), 1), counts, boxes, cameras, ranges).view(-1, *SIZE, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_are_those_whose_center_is_inside_the_solid(seed):
    meshes, boxes, cameras = scene(seed)
    result = frustum_voxels(meshes, boxes, cameras, SIZE)
    firsts = meshes.face_counts.cumsum(0) - meshes.face_counts
    for i, points in enumerate(placed_centers(meshes, boxes, cameras)):
        faces = meshes.faces[firsts[i] : firsts[i] + meshes.face_counts[i]]
        inside = winding_numbers(points, meshes.vertices, faces).round() != 0
        assert inside.any()
        assert torch.equal(result[i], inside)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_mark_their_cells(seed):
    meshes, boxes, cameras = scene(seed)
    expected = frustum_voxels(meshes, boxes, cameras, SIZE)
    grid = placed_centers(meshes, boxes, cameras)
    ends = object_depth_ranges(meshes.vertices, meshes.vertex_counts)
    parts = []
    for points, occupied, (near, far) in zip(grid, expected, ends, strict=True):
        outside = torch.tensor([[9.0, 9, 1], [9, 9, 1]], dtype=torch.float64)
        outside[:, 2] = torch.stack([near, far])  # they set the depth, and lie outside of the boxes
        parts.append(torch.cat([points[occupied], outside]))
    counts = torch.tensor([len(part) for part in parts])
    assert torch.equal(frustum_point_voxels(torch.cat(parts), counts, boxes, cameras, SIZE), expected)


def test_depth_ranges_that_are_known_change_nothing():
    meshes, boxes, cameras = scene(0)
    ranges = object_depth_ranges(meshes.vertices, meshes.vertex_counts)
    expected = frustum_voxels(meshes, boxes, cameras, SIZE)
    assert torch.equal(frustum_voxels(meshes, boxes, cameras, SIZE, ranges), expected)
    solids = meshes.vertices, meshes.vertex_counts, boxes, cameras, SIZE
    assert torch.equal(frustum_point_voxels(*solids, ranges), frustum_point_voxels(*solids))
    other = frustum_voxels(meshes, boxes, cameras, SIZE, ranges * torch.tensor([0.9, 1.1]))
    assert other.any(dim=(2, 3)).sum() < expected.any(dim=(2, 3)).sum()  # they are used: shapes fill fewer layers


def test_precision_and_empty_shapes():
    meshes, boxes, cameras = scene(0)
    expected = frustum_voxels(meshes, boxes, cameras, SIZE)
    single = meshes._replace(vertices=meshes.vertices.float())
    assert torch.equal(frustum_voxels(single, boxes.float(), cameras.float(), SIZE), expected)
    zeros = torch.zeros(4, dtype=torch.int64)
    empty = PackedMeshes(meshes.vertices[:0], meshes.faces[:0], zeros, zeros)
    assert not frustum_voxels(empty, boxes, cameras, SIZE).any()
    assert not frustum_point_voxels(meshes.vertices[:0], zeros, boxes, cameras, SIZE).any()
    none = PackedMeshes(meshes.vertices[:0], meshes.faces[:0], zeros[:0], zeros[:0])
    assert frustum_voxels(none, boxes[:0], cameras[:0], SIZE).shape == (0, *SIZE)


def test_bad_input():
    meshes, boxes, cameras = scene(0)
    flat_box = boxes.clone()
    flat_box[2, 3] = boxes[2, 1]
    with pytest.raises(InputError, match=r"boxes\[2\] is .*, without area; leave it out"):
        frustum_voxels(meshes, flat_box, cameras, SIZE)
    behind = meshes._replace(vertices=meshes.vertices - torch.tensor([0, 0, 2.5]))
    with pytest.raises(InputError, match=r"mesh 0: it begins at z = .*, which is not in front of the camera"):
        frustum_voxels(behind, boxes, cameras, SIZE)
    flat = meshes.vertices.clone()
    flat[-12:, 2] = 2
    with pytest.raises(InputError, match="solid 3: it has no depth, all of it lies at z = 2"):
        frustum_point_voxels(flat, meshes.vertex_counts, boxes, cameras, SIZE)
    is_open = meshes._replace(faces=meshes.faces[:-7], face_counts=meshes.face_counts - torch.tensor([0, 0, 0, 7]))
    with pytest.raises(InputError, match="mesh 3: its faces are no closed surface"):
        frustum_voxels(is_open, boxes, cameras, SIZE)
    with pytest.raises(InputError, match=r"boxes must have shape \(4, 4\)"):
        frustum_voxels(meshes, boxes[:3], cameras, SIZE)
