"""The frustum frame against Mesh R-CNN's own numbers, and against the projective map of its corners."""

import itertools

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import from_box_frustum, object_depth_ranges, to_box_frustum

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
COUNTS = torch.tensor([5, 0, 9, 3])


def frustums(seed, number=4):
    """Boxes, cameras with skew and two focal lengths, depth ranges."""
    generator = torch.Generator().manual_seed(seed)
    low, size, focal, center, depth = torch.rand(5, number, 2, generator=generator, dtype=torch.float64).unbind()
    boxes = torch.cat([200 * low, 200 * low + 20 + 200 * size], dim=1)
    cameras = torch.zeros(number, 3, 3, dtype=torch.float64)
    cameras[:, [0, 1], [0, 1]] = 200 + 300 * focal
    cameras[:, 0, 1] = 40 * torch.rand(number, generator=generator, dtype=torch.float64) - 20
    cameras[:, :2, 2] = 100 + 100 * center
    cameras[:, 2, 2] = 1
    return boxes, cameras, torch.stack([0.5 + depth[:, 0], 1.6 + depth.sum(1)], dim=1)


def points(seed):
    """Points of `COUNTS` objects in front of the camera, inside and outside of their frustums."""
    rows = torch.rand(int(COUNTS.sum()), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows * torch.tensor([2, 2, 3]) + torch.tensor([-1, -1, 0.4])


def corner_homography(box, camera, depth_range):
    """The 4 x 4 matrix that takes the corners of the frustum to those of the cube, from 24 linear equations."""
    equations = []
    for corner in itertools.product((0, 1), repeat=3):
        pixel = np.array([box[2 * corner[0]], box[2 * corner[1] + 1], 1])
        source = np.append(np.linalg.solve(camera, pixel) * depth_range[corner[2]], 1)
        for axis in range(3):
            row = np.zeros((4, 4))
            row[axis], row[3] = source, -(2 * corner[axis] - 1) * source
            equations.append(row.ravel())
    return np.linalg.svd(np.array(equations))[2][-1].reshape(4, 4)


def test_equals_the_transform_of_mesh_rcnn():
    # Of `cuboid3D_to_unitbox3D(box2D_to_cuboid3D(...))` at facebookresearch/meshrcnn, run in float64; x and y of its
    # frame negated, and its "- 1" of pixels left out.
    vertices = [
        [-0.5, -0.3, 1.7], [-0.4, -0.1, 2.5], [-0.9, 0.2, 1.5], [0.1, 0.1, 2.0],
        [-0.1, 0.05, 0.8], [0.2, 0.1, 1.0], [0, 0, 1.1], [0.3, -0.2, 0.9],
        [0.5, 1, 10], [2, 2.5, 12], [5, 3, 14], [-1, -2, 11],
    ]  # fmt: skip
    expected = [
        [-0.164705882, -0.098039216, -0.411764706], [0.64, 1.266666667, 1.0], [-2.0, 3.0, -1.0],
        [1.9, 2.166666667, 0.25], [-0.452380952, 0.184782609, -1.0], [0.847619048, 0.32173913, 0.466666667],
        [0.047619048, -0.043478261, 1.0], [1.380952381, -0.855072464, -0.185185185],
        [-0.653125, -0.251851852, -1.0], [-0.28125, 0.157407407, 0.166666667], [0.325892857, 0.17989418, 1.0],
        [-1.102272727, -1.316498316, -0.363636364],
    ]  # fmt: skip
    boxes = torch.tensor([[20.0, 30, 120, 90], [100, 50, 310, 280], [300, 200, 620, 470]], dtype=torch.float64)
    numbers = [(300, 150, 110), (420, 210, 160), (510, 330, 250)]
    cameras = torch.tensor([[[f, 0, x], [0, f, y], [0, 0, 1.0]] for f, x, y in numbers], dtype=torch.float64)
    ranges = torch.tensor([[1.5, 2.5], [0.8, 1.1], [10, 14]], dtype=torch.float64)
    result = to_box_frustum(torch.tensor(vertices, dtype=torch.float64), torch.tensor([4] * 3), boxes, cameras, ranges)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_projective_map_of_the_corners(seed):
    boxes, cameras, ranges = frustums(seed)
    vertices = points(seed)
    results = to_box_frustum(vertices, COUNTS, boxes, cameras, ranges).split(COUNTS.tolist())
    for i, (own, result) in enumerate(zip(vertices.split(COUNTS.tolist()), results, strict=True)):
        homography = corner_homography(boxes[i].numpy(), cameras[i].numpy(), ranges[i].numpy())
        mapped = np.c_[own.numpy(), np.ones(len(own))] @ homography.T
        np.testing.assert_allclose(result.numpy(), mapped[:, :3] / mapped[:, 3:], rtol=1e-8, atol=1e-8)


def test_ends_of_the_depth_range_are_exact():
    boxes, cameras, ranges = (tensor.float() for tensor in frustums(3))
    vertices = torch.cat([torch.zeros(4, 1, 2).expand(4, 2, 2), ranges[..., None]], dim=2).view(-1, 3)
    result = to_box_frustum(vertices, torch.tensor([2] * 4), boxes, cameras, ranges)
    assert result[:, 2].tolist() == [-1, 1] * 4


@pytest.mark.parametrize("seed", SEEDS)
def test_inverse(seed):
    boxes, cameras, ranges = frustums(seed)
    vertices = points(seed)
    there = to_box_frustum(vertices, COUNTS, boxes, cameras, ranges)
    torch.testing.assert_close(from_box_frustum(there, COUNTS, boxes, cameras, ranges), vertices)
    scaled = from_box_frustum(there, COUNTS, boxes, cameras, 7 * ranges)
    torch.testing.assert_close(scaled, 7 * vertices)


@pytest.mark.parametrize("operation", [to_box_frustum, from_box_frustum])
def test_gradients(operation):
    boxes, cameras, ranges = (tensor.requires_grad_() for tensor in frustums(4))
    vertices = (points(4) / 2).requires_grad_()
    assert torch.autograd.gradcheck(operation, (vertices, COUNTS, boxes, cameras, ranges))


def test_points_that_are_not_ahead_are_nan_without_gradient():
    boxes, cameras, ranges = frustums(5)
    vertices = points(5)
    vertices[[1, 7], 2] = torch.tensor([0.0, -1], dtype=torch.float64)
    vertices.requires_grad_()
    result = to_box_frustum(vertices, COUNTS, boxes, cameras, ranges)
    assert result.isnan().all(1).nonzero().flatten().tolist() == [1, 7]
    assert result.isfinite().all(1).sum() == len(vertices) - 2
    (gradient,) = torch.autograd.grad(result.nansum(), vertices)
    assert gradient.isfinite().all()
    assert not gradient[[1, 7]].any()


def test_points_behind_infinity_are_far_away():
    boxes, cameras, ranges = frustums(6)
    horizon = (ranges.sum(1) / (ranges[:, 1] - ranges[:, 0]))[:, None]
    z = horizon * torch.tensor([1 - 1e-6, 1, 2, 100], dtype=torch.float64)
    vertices = torch.cat([torch.full((4, 4, 2), 0.3, dtype=torch.float64), z[..., None]], dim=2).view(-1, 3)
    vertices.requires_grad_()
    result = from_box_frustum(vertices, torch.tensor([4] * 4), boxes, cameras, ranges)
    torch.testing.assert_close(result[:, 2].view(4, 4), 1000 * ranges[:, 1:].expand(4, 4))
    (gradient,) = torch.autograd.grad(result.sum(), vertices)
    assert gradient.isfinite().all()
    assert not gradient[:, 2].any()


def test_frames_without_extent():
    boxes, cameras, ranges = frustums(7)
    flat_boxes, flat_ranges = boxes.clone(), ranges.clone()
    flat_boxes[2, 2:] = boxes[2, :2]
    flat_ranges[0, 1] = ranges[0, 0]
    finite = to_box_frustum(points(7), COUNTS, flat_boxes, cameras, flat_ranges).isfinite().split(COUNTS.tolist())
    expected = [[True, True, False], [True] * 3, [False, False, True], [True] * 3]
    assert [own.all(0).tolist() for own in finite] == expected
    inside = points(7) / 4
    camera_frame = from_box_frustum(inside, COUNTS, flat_boxes, cameras, flat_ranges)
    torch.testing.assert_close(camera_frame[:5, 2], flat_ranges[0, :1].expand(5))
    pixels = (camera_frame[5:14] / camera_frame[5:14, 2:]) @ cameras[2].T
    torch.testing.assert_close(pixels[:, :2], boxes[2, :2].expand(9, 2))


@pytest.mark.parametrize("operation", [to_box_frustum, from_box_frustum])
def test_dtypes(operation):
    arguments = [points(8) / 2, COUNTS, *frustums(8)]
    exact = operation(*arguments)
    halves = [tensor.half() if tensor.is_floating_point() else tensor for tensor in arguments]
    assert operation(*halves).dtype == torch.float32
    singles = [tensor.float() if tensor.is_floating_point() else tensor for tensor in arguments]
    with torch.autocast("cpu", torch.bfloat16):
        single = operation(*singles)
    torch.testing.assert_close(single, exact.float(), rtol=1e-4, atol=1e-4)
    assert operation(singles[0], *arguments[1:]).dtype == torch.float64


@pytest.mark.parametrize("operation", [to_box_frustum, from_box_frustum])
def test_no_objects(operation):
    boxes, cameras, ranges = frustums(9)
    none = torch.zeros(0, dtype=torch.int64)
    assert operation(torch.zeros(0, 3), none, boxes[:0], cameras[:0], ranges[:0]).shape == (0, 3)
    assert operation(torch.zeros(0, 3), torch.zeros_like(COUNTS), boxes, cameras, ranges).shape == (0, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_object_depth_ranges(seed):
    vertices = points(seed) - 1
    ranges = object_depth_ranges(vertices, COUNTS)
    for own, (least, greatest) in zip(vertices.split(COUNTS.tolist()), ranges.tolist(), strict=True):
        z = own[:, 2].tolist()
        assert (least, greatest) == ((min(z), max(z)) if z else (0, 0))
    assert object_depth_ranges(vertices.half(), COUNTS).dtype == torch.float32
    assert object_depth_ranges(vertices[:0], COUNTS[:0]).shape == (0, 2)


def test_bad_input():
    boxes, cameras, ranges = frustums(0)
    vertices = points(0)
    with pytest.raises(InputError, match=r"vertices must have shape \(V, 3\)"):
        to_box_frustum(vertices[:, :2], COUNTS, boxes, cameras, ranges)
    with pytest.raises(InputError, match=r"boxes must have shape \(4, 4\), got \(3, 4\)"):
        to_box_frustum(vertices, COUNTS, boxes[:3], cameras, ranges)
    with pytest.raises(InputError, match=r"cameras must have shape \(4, 3, 3\)"):
        from_box_frustum(vertices, COUNTS, boxes, cameras[:, :2], ranges)
    with pytest.raises(InputError, match="depth_ranges must be floating point"):
        from_box_frustum(vertices, COUNTS, boxes, cameras, ranges.long())
    with pytest.raises(InputError, match=r"point_counts must have shape \(N,\)"):
        object_depth_ranges(vertices, COUNTS[None])
