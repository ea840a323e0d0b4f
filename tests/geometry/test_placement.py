"""Placements against float64 arithmetic, pixel by pixel brute force, and OpenCV."""

import secrets

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from detkit.geometry import Placement, camera_turn

SIZE = (30, 40)  # of the given frame


def turned(degrees: float, scale: float = 1.0, size: tuple[int, int] = (50, 44)) -> Placement:
    """Turned around the middle of the given frame, which comes to lie in the middle of the new one."""
    angle, (height, width), (new_height, new_width) = np.deg2rad(degrees), SIZE, size
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = np.array([new_width, new_height]) / 2 - rotation @ np.array([width, height]) / 2
    return Placement(tuple(map(tuple, np.column_stack([rotation, offset]).tolist())), size, SIZE)


PLACEMENTS = {
    "identity": Placement.identity(SIZE),
    "resize": Placement.resize(SIZE, (61, 33)),
    "part": Placement.part(SIZE, (5, 3, 25, 18), (2, 7, 42, 37), (45, 50)),
    "part in broken pixels": Placement.part(SIZE, (5.5, 3.2, 25, 18), (2, 7.3, 42, 37), (45, 50)),
    "mirror": Placement.mirror(SIZE, True, False),
    "mirrored part": Placement.part(SIZE, (5, 3, 25, 18), (2, 7, 42, 37), (45, 50)).then(
        Placement.mirror((45, 50), True, True)
    ),
    "upper left corner": Placement.part(SIZE, (0, 0, 25, 18), (0, 0, 25, 18), (18, 25)),
    "larger canvas": Placement.part(SIZE, (0, 0, 40, 30), (0, 0, 40, 30), (45, 50)),
    "transposed": Placement(((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)), (40, 30), SIZE),
    "turned": turned(25, 1.2),
    "sheared": Placement(((1.1, 0.3, -4.0), (-0.2, 0.9, 6.0)), (40, 50), SIZE),
}
ALIGNED = {name: place for name, place in PLACEMENTS.items() if place.is_axis_aligned}
each = pytest.mark.parametrize("name", PLACEMENTS)


def affine(placement: Placement) -> np.ndarray:
    """The map as a 3 x 3 matrix."""
    return np.array([*placement.matrix, (0, 0, 1)])


def random_points(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-10, 50, (7, 5, 2))


def random_boxes(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 20, (20, 2))
    return np.concatenate([low, low + random.uniform(1, 10, (20, 2))], axis=1)


def random_masks(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([cv2.blur(random.random(SIZE), (9, 9)) > 0.5 for _ in range(4)])


def centers(size: tuple[int, int]) -> np.ndarray:
    """``(H, W, 3)`` the homogeneous middle of each pixel."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def nearest(pixels: np.ndarray, placement: Placement, border: int) -> np.ndarray:
    """Each new pixel is the given one under its middle, by brute force."""
    sources = centers(placement.size) @ np.linalg.inv(affine(placement)).T
    out = np.full(placement.size, border, dtype=pixels.dtype)
    x1, y1, x2, y2 = placement.window
    for row in range(placement.size[0]):
        for column in range(placement.size[1]):
            x, y = (int(np.floor(value + 1e-9)) for value in sources[row, column, :2])
            is_shown = x1 <= column + 0.5 < x2 and y1 <= row + 0.5 < y2
            if is_shown and 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
                out[row, column] = pixels[y, x]
    return out


class TestPointsAndBoxes:
    @each
    def test_points_are_those_of_the_matrix(self, name: str):
        points = random_points()
        expected = np.concatenate([points, np.ones((7, 5, 1))], axis=-1) @ affine(PLACEMENTS[name]).T
        assert np.allclose(PLACEMENTS[name].points(points), expected[..., :2], rtol=1e-12, atol=1e-12)

    @each
    def test_boxes_are_the_smallest_around_their_corners(self, name: str):
        boxes = random_boxes()
        corners = PLACEMENTS[name].points(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
        expected = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        assert np.allclose(PLACEMENTS[name].boxes(boxes), expected, rtol=1e-12, atol=1e-12)

    @each
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tensors_move_as_arrays_do(self, name: str, dtype: torch.dtype):
        placement = PLACEMENTS[name]
        boxes, points = torch.from_numpy(random_boxes()).to(dtype), torch.from_numpy(random_points()).to(dtype)
        for move, values in ((placement.boxes, boxes), (placement.points, points)):
            moved = move(values)
            assert moved.dtype == dtype
            assert np.array_equal(moved.numpy(), move(values.numpy()).astype(moved.numpy().dtype))

    @pytest.mark.parametrize("name", ALIGNED)
    def test_the_shown_part_begins_and_ends_exactly_at_its_window(self, name: str):
        placement = PLACEMENTS[name]
        for dtype in (np.float32, np.float64):
            moved = placement.boxes(np.array(placement.visible_part, dtype=dtype))
            assert np.allclose(moved, placement.window, atol=1e-5 if dtype == np.float32 else 1e-12)
        begins = placement.points(np.array(placement.visible_part[:2]))
        low, high = np.array(placement.window[:2]), np.array(placement.window[2:])
        assert ((begins == low) | (begins == high)).all()

    @given(scale=st.floats(0.05, 20), part=st.integers(0, 29), length=st.integers(1, 11), x=st.floats(0, 40, width=32))
    def test_edges_of_a_part_stay_exact(self, scale: float, part: int, length: int, x: float):
        place = Placement.part(SIZE, (part, 0, part + length, 30), (3, 0, 3 + scale, 30), (30, 64))
        assert place.points(np.array([part, 0.0]))[0] == 3
        expected = 3 + (x - part) * scale / length
        assert place.points(np.array([x, 0.0]))[0] == pytest.approx(expected, rel=1e-12, abs=1e-12)

    @each
    def test_no_objects(self, name: str):
        placement = PLACEMENTS[name]
        assert placement.boxes(torch.zeros(0, 4)).shape == (0, 4)
        assert placement.points(torch.zeros(0, 17, 2)).shape == (0, 17, 2)
        assert placement.masks(torch.zeros(0, *SIZE, dtype=torch.bool)).shape == (0, *placement.size)

    @each
    def test_a_gradient_is_that_of_finite_differences(self, name: str):
        boxes = torch.from_numpy(random_boxes()[:3]).requires_grad_()
        assert torch.autograd.gradcheck(PLACEMENTS[name].boxes, boxes)
        points = torch.from_numpy(random_points()[:2]).requires_grad_()
        assert torch.autograd.gradcheck(PLACEMENTS[name].points, points)


class TestInverseAndThen:
    @each
    def test_there_and_back(self, name: str):
        placement = PLACEMENTS[name]
        back = placement.inverse()
        assert (back.size, back.given_size) == (SIZE, placement.size)
        assert np.allclose(affine(back) @ affine(placement), np.eye(3), atol=1e-12)
        assert np.allclose(back.points(placement.points(random_points())), random_points(), atol=1e-9)

    @each
    def test_then_is_one_after_the_other(self, name: str):
        placement = PLACEMENTS[name]
        for following in (Placement.mirror(placement.size, True, False), Placement.resize(placement.size, (20, 70))):
            both = placement.then(following)
            assert np.allclose(both.points(random_points()), following.points(placement.points(random_points())))
            assert np.allclose(affine(both), affine(following) @ affine(placement))

    @each
    def test_then_is_associative(self, name: str):
        first = PLACEMENTS[name]
        second = Placement.part(first.size, (2, 3, 15, 12), (4, 0, 30, 18), (25, 35))
        third = Placement.mirror((25, 35), False, True)
        one, other = first.then(second).then(third), first.then(second.then(third))
        assert np.allclose(affine(one), affine(other))
        assert np.allclose(one.window, other.window)
        assert (one.size, one.given_size) == (other.size, other.given_size)

    @each
    def test_then_identity_changes_nothing(self, name: str):
        placement = PLACEMENTS[name]
        after = placement.then(Placement.identity(placement.size))
        assert np.allclose(affine(after), affine(placement))
        assert after.window == pytest.approx(placement.window)

    def test_sizes_that_do_not_meet_are_refused(self):
        with pytest.raises(ValueError, match="cannot be followed"):
            PLACEMENTS["part"].then(Placement.identity(SIZE))


class TestMirror:
    def test_left_and_right_change_places(self):
        mirror = Placement.mirror(SIZE, True, False)
        assert mirror.points(np.array([1.25, 7.0])).tolist() == [38.75, 7.0]
        assert mirror.boxes(np.array([1.0, 2, 5, 9])).tolist() == [35, 2, 39, 9]

    @pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
    def test_pixels_are_flipped_and_twice_is_nothing(self, flips: tuple[bool, bool]):
        image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        mirror = Placement.mirror(SIZE, *flips)
        expected = image[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
        assert np.array_equal(mirror.image(image), expected)
        assert np.array_equal(mirror.then(mirror).image(image), image)
        assert mirror.then(mirror).is_identity

    def test_what_is_a_mirror(self):
        mirroring = {name for name, placement in PLACEMENTS.items() if placement.mirrors}
        assert mirroring == {"mirror", "transposed"}  # twice mirrored is turned


class TestPixels:
    @each
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
    def test_label_maps_are_the_nearest_pixels(self, name: str, dtype: torch.dtype):
        ignore = 255 if dtype == torch.uint8 else -1
        labels = torch.from_numpy(np.random.default_rng(3).integers(0, 200, SIZE)).to(dtype)
        moved = PLACEMENTS[name].label_map(labels, ignore)
        assert moved.dtype == dtype
        assert np.array_equal(moved.numpy(), nearest(labels.numpy(), PLACEMENTS[name], ignore))
        assert np.array_equal(PLACEMENTS[name].label_map(labels.numpy(), ignore), moved.numpy())

    @each
    def test_masks_agree_with_nearest_but_at_their_edges(self, name: str):
        placement, masks = PLACEMENTS[name], random_masks()
        moved = placement.masks(masks)
        assert moved.shape == (4, *placement.size)
        expected = np.stack([nearest(mask.astype(np.uint8), placement, 0) for mask in masks]).astype(bool)
        differs = moved != expected
        edges = np.stack([cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5))) for m in expected])
        height, width = placement.size
        edges[:, [0, height - 1]] = edges[:, :, [0, width - 1]] = 1
        if not placement.is_axis_aligned:
            frame = nearest(np.ones(SIZE, np.uint8), placement, 0)
            edges |= cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((3, 3)))
        assert not (differs & (edges == 0)).any()
        assert differs.mean() < 0.06
        assert torch.equal(placement.masks(torch.from_numpy(masks)), torch.from_numpy(moved))

    @pytest.mark.parametrize("name", ["identity", "mirror", "upper left corner", "larger canvas"])
    def test_masks_that_keep_their_pixels_are_exact(self, name: str):
        masks = random_masks()
        expected = [nearest(mask.astype(np.uint8), PLACEMENTS[name], 0) for mask in masks]
        assert np.array_equal(PLACEMENTS[name].masks(masks), np.stack(expected).astype(bool))

    @pytest.mark.parametrize("name", ["turned", "sheared"])
    def test_images_are_warped_as_by_opencv(self, name: str):
        placement = PLACEMENTS[name]
        image = cv2.blur(np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8), (3, 3))
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        by_centers = (np.linalg.inv(half) @ affine(placement) @ half)[:2]
        height, width = placement.size
        expected = cv2.warpAffine(image, by_centers, (width, height), borderValue=(9, 8, 7))
        assert np.abs(placement.image(image, (9, 8, 7)).astype(int) - expected).max() <= 1

    def test_resizing_is_opencvs(self):
        image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        assert np.array_equal(PLACEMENTS["resize"].image(image), cv2.resize(image, (33, 61)))
        small = Placement.resize(SIZE, (10, 10))
        assert np.array_equal(small.image(image), cv2.resize(image, (10, 10), interpolation=cv2.INTER_AREA))

    @each
    def test_an_image_of_its_own_places_comes_where_points_do(self, name: str):
        """An image whose pixels say where they are: x in one channel, y in the next."""
        placement = PLACEMENTS[name]
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        moved = placement.image(np.stack([4 * x, 4 * y, 0 * x], axis=-1).astype(np.uint8), (0, 0, 255)).astype(float)
        shown = moved[..., 2] == 0
        inner = cv2.erode(shown.astype(np.uint8), np.ones((5, 5)), borderValue=0).astype(bool)
        sources = centers(placement.size) @ np.linalg.inv(affine(placement)).T
        assert inner.sum() > 50
        assert np.abs(moved[inner][:, :2] / 4 + 0.5 - sources[inner][:, :2]).max() < 0.35

    def test_other_sizes_are_refused(self):
        placement = PLACEMENTS["part"]
        with pytest.raises(ValueError, match=r"masks of size .* in a placement from"):
            placement.masks(np.zeros((3, 31, 40), dtype=bool))
        with pytest.raises(ValueError, match="image of size"):
            placement.image(np.zeros((31, 40, 3), np.uint8))
        with pytest.raises(ValueError, match="label map of size"):
            placement.label_map(np.zeros((31, 40), np.uint8), 255)


class TestWindow:
    def test_border_is_what_shows_nothing(self):
        for name, has in {"identity": False, "resize": False, "part": True, "larger canvas": True}.items():
            assert PLACEMENTS[name].has_border == has, name

    @each
    def test_border_is_filled_and_ignored(self, name: str):
        placement = PLACEMENTS[name]
        image = placement.image(np.full((*SIZE, 3), 200, np.uint8), (1, 2, 3))
        labels = placement.label_map(np.zeros(SIZE, np.uint8), 255)
        x1, y1, x2, y2 = placement.window
        place = centers(placement.size)
        outside = (place[..., 0] < x1) | (place[..., 0] > x2) | (place[..., 1] < y1) | (place[..., 1] > y2)
        assert (image[outside] == (1, 2, 3)).all()
        assert (labels[outside] == 255).all()
        assert not placement.masks(np.ones((1, *SIZE), dtype=bool))[0][outside].any()

    def test_what_a_crop_cuts_off_is_not_shown_when_it_comes_into_a_larger_frame(self):
        cut = Placement.part(SIZE, (10, 5, 30, 25), (0, 0, 20, 20), (20, 20))
        both = cut.then(Placement.part((20, 20), (0, 0, 20, 20), (8, 8, 28, 28), (36, 36)))
        assert both.window == (8, 8, 28, 28)
        assert both.visible_part == (10, 5, 30, 25)
        assert both.masks(np.ones((1, *SIZE), dtype=bool)).sum() == 400

    def test_clip_cuts_at_the_frame(self):
        boxes = np.array([[-3.0, 2, 60, 90], [5, 6, 7, 8]])
        assert PLACEMENTS["part"].clip(boxes).tolist() == [[0, 2, 50, 45], [5, 6, 7, 8]]
        assert PLACEMENTS["part"].clip(torch.from_numpy(boxes)).tolist() == [[0, 2, 50, 45], [5, 6, 7, 8]]

    def test_areas_grow_by_the_determinant(self):
        for name, placement in PLACEMENTS.items():
            assert placement.area_scale == pytest.approx(abs(np.linalg.det(affine(placement)))), name


class TestCamera:
    @each
    def test_points_in_space_come_where_their_pixels_do(self, name: str):
        """They turn, or are mirrored, with the image."""
        placement = PLACEMENTS[name]
        camera = np.array([[50.0, 0.2, 20], [0, 48, 15], [0, 0, 1]])
        space = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 6), (30, 3))
        turned = np.column_stack([space[:, :2] @ camera_turn(placement.matrix).T, space[:, 2]])
        pixels, moved = space @ camera.T, turned @ placement.camera(camera).T
        expected = placement.points(pixels[:, :2] / pixels[:, 2:])
        assert np.allclose(moved[:, :2] / moved[:, 2:], expected, atol=1e-9)
        tensor = placement.camera(torch.from_numpy(camera).float())
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, torch.from_numpy(placement.camera(camera)).float(), atol=1e-4)

    @each
    def test_focal_lengths_stay_positive(self, name: str):
        moved = PLACEMENTS[name].camera(np.array([[50.0, 0, 20], [0, 50, 15], [0, 0, 1]]))
        assert moved[0, 0] > 0
        assert moved[1, 1] > 0
        assert abs(moved[1, 0]) < 1e-12
        assert moved[2].tolist() == [0, 0, 1]

    @pytest.mark.parametrize("seed", [0, 1, 2, pytest.param(secrets.randbits(32), id="fresh")])
    def test_the_turn_is_that_of_the_rq_decomposition(self, seed: int):
        matrix = np.random.default_rng(seed).normal(size=(2, 3))
        triangular, orthogonal = scipy.linalg.rq(matrix[:, :2])
        expected = np.sign(np.diag(triangular))[:, None] * orthogonal
        assert np.allclose(camera_turn(tuple(map(tuple, matrix.tolist()))), expected, atol=1e-9)

    def test_flips_and_quarter_turns_are_exact(self):
        for name, turn in {
            "resize": [[1, 0], [0, 1]], "mirror": [[-1, 0], [0, 1]], "mirrored part": [[-1, 0], [0, -1]],
            "transposed": [[0, 1], [1, 0]],
        }.items():  # fmt: skip
            assert camera_turn(PLACEMENTS[name].matrix).tolist() == turn, name
        camera = np.array([[50.0, 0, 13], [0, 48, 15], [0, 0, 1]])
        assert PLACEMENTS["mirror"].camera(camera).tolist() == [[50, 0, 40 - 13], [0, 48, 15], [0, 0, 1]]
