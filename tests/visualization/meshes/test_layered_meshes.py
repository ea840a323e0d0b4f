"""Meshes of detections over their image: what hides what is as in a depth buffer of true distances."""

import numpy as np
import pytest
import torch

from detkit.data import Shapes3D
from detkit.errors import InputError
from detkit.structures import Category, Detections, Meshes, Target
from detkit.structures.meshes import icosphere
from detkit.visualization import draw_detections
from detkit.visualization.meshes import draw_layered_meshes, draw_meshes
from detkit.visualization.meshes.layered_meshes import back_to_front

CAMERA = torch.tensor([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]])
COLORS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
GRAY = np.full((48, 64, 3), 128, np.uint8)
CLASSES = [Category(1, "ball"), Category(2, "cube")]


def balls(*centers, radius=0.3):
    sphere = icosphere(2)
    return Meshes(
        [sphere.vertices * radius + torch.tensor(center) for center in centers], [sphere.faces] * len(centers)
    )


def at_unit_distance(meshes):
    """As detections have them."""
    z = torch.stack([(own[:, 2].min() + own[:, 2].max()) / 2 for own in meshes.vertices_list()])
    return meshes.with_vertices(meshes.vertices / z[meshes.topology.vertex_objects][:, None])


def detections(meshes, masks=None, camera=CAMERA):
    count = len(meshes)
    boxes = torch.tensor([[1.0, 1, 60, 40]]).expand(count, 4).clone()
    scores, labels = torch.linspace(0.9, 0.6, count), torch.zeros(count, dtype=torch.int64)
    return Detections(boxes, scores, labels, masks, meshes=meshes, camera=camera)


@pytest.mark.parametrize("seed", [0, pytest.param(np.random.randint(10**6), id="fresh")])
def test_are_hidden_as_the_true_distances_say(seed):
    dataset = Shapes3D("val", counts={"val": 12}, image_size=(64, 96), seed=seed, min_visible=0.3, max_objects=4)
    dataset = dataset.reading({"masks", "meshes", "camera"})
    for index in range(len(dataset)):
        image, target = dataset.read(index)
        colors = [COLORS[number % 3] for number in range(len(target))]
        truth = draw_meshes(image, target.meshes, target.camera, colors)
        drawn = draw_layered_meshes(image, at_unit_distance(target.meshes), target.camera, colors, target.masks)
        # Of two edges at one pixel, rounding may choose the other.
        assert (truth != drawn).any(axis=2).mean() < 0.002


def test_masks_tell_what_is_in_front():
    meshes = balls((0, 0, 1), (0.2, 0, 1))
    alone = [draw_layered_meshes(GRAY, meshes[row], CAMERA, [COLORS[row]]) for row in range(2)]
    covered = torch.from_numpy(np.stack([(one != GRAY).any(axis=2) for one in alone]))
    both = covered[0] & covered[1]
    assert both.any()
    for front, back in ((0, 1), (1, 0)):
        masks = covered.clone()
        masks[back] &= ~both
        drawn = draw_layered_meshes(GRAY, meshes, CAMERA, COLORS[:2], masks)
        assert (drawn[both] == alone[front][both]).all()
    later = draw_layered_meshes(GRAY, meshes, CAMERA, COLORS[:2])
    assert (later[both] == alone[1][both]).all()


def test_windows_change_nothing():
    """Also of a mesh that leaves the image, one outside it, and one that reaches behind the camera."""
    for center in ((0.0, 0, 1), (0.7, 0.5, 1), (5.0, 0, 1), (0.1, 0, 0.2)):
        mesh = balls(center)
        drawn = draw_layered_meshes(GRAY, mesh, CAMERA, COLORS[:1])
        assert (drawn == draw_meshes(GRAY, mesh, CAMERA, COLORS[:1])).all()


def test_orders_keep_what_is_known():
    generator = np.random.default_rng(0)
    for count in (0, 1, 5, 30):
        ranks = generator.permutation(count)
        in_front = (ranks[:, None] > ranks) & (generator.random((count, count)) < 0.3)
        order = back_to_front(in_front)
        assert sorted(order) == list(range(count))
        positions = np.argsort(order)
        front, back = np.nonzero(in_front)
        assert (positions[front] > positions[back]).all()
    circle = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    assert sorted(back_to_front(circle)) == [0, 1, 2]


class TestDetections:
    def test_meshes_are_drawn_in_place_of_masks(self):
        masks = torch.zeros(2, 48, 64, dtype=torch.bool)
        masks[:, 42:, 56:] = True
        meshes = Meshes([balls((0, 0, 1)).vertices, torch.zeros(0, 3)], [icosphere(2).faces, torch.zeros(0, 3).long()])
        drawn = draw_detections(GRAY, detections(meshes, masks), CLASSES)
        only = draw_detections(GRAY, detections(meshes[:1], masks[:1]), CLASSES)
        assert (only[45, 60] == GRAY[45, 60]).all()  # the mask of the first is not drawn
        assert (drawn[45, 60] != GRAY[45, 60]).any()  # that of the second, whose voxels are empty, is
        assert (drawn[24, 32] != GRAY[24, 32]).any()

    def test_without_a_camera_masks_are_drawn(self):
        masks = torch.zeros(1, 48, 64, dtype=torch.bool)
        masks[:, 20:30, 20:30] = True
        with_meshes = detections(balls((0, 0, 1)), masks, camera=None)
        without = Detections(with_meshes.boxes, with_meshes.scores, with_meshes.labels, masks)
        drawn, expected = (draw_detections(GRAY, one, CLASSES) for one in (with_meshes, without))
        assert (drawn == expected).all()

    def test_of_no_objects(self):
        empty = Detections.empty()
        empty = Detections(empty.boxes, empty.scores, empty.labels, meshes=Meshes([], []), camera=CAMERA)
        assert (draw_detections(GRAY, empty, CLASSES) == GRAY).all()

    def test_of_a_hundred(self):
        centers = [(0.05 * (number % 10) - 0.2, 0.04 * (number // 10) - 0.2, 1) for number in range(100)]
        drawn = draw_detections(GRAY, detections(balls(*centers, radius=0.05)), CLASSES)
        assert (drawn != GRAY).any()


def test_ground_truth_is_drawn_by_its_distances():
    near, far = (0.1, 0.0, 1.0), (0.3, 0.0, 2.0)
    for centers in ((near, far), (far, near)):
        meshes = balls(*centers)
        target = Target(torch.ones(2, 4).cumsum(1), torch.tensor([0, 1]), meshes=meshes, camera=CAMERA)
        drawn = draw_detections(GRAY, target, CLASSES).astype(int)
        alone = Target(target.boxes[:1], target.labels[[centers.index(near)]], meshes=balls(near), camera=CAMERA)
        expected = draw_detections(GRAY, alone, CLASSES).astype(int)
        assert np.abs(drawn[24, 36] - expected[24, 36]).max() < 2  # where both are seen


def test_wrong_cameras_are_refused():
    with pytest.raises(InputError, match="is no intrinsic matrix"):
        draw_layered_meshes(GRAY, balls((0, 0, 1)), torch.zeros(3, 3), COLORS[:1])
