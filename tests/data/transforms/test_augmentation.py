import pickle
from dataclasses import replace

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import noise

from detkit.data import Augmentation
from detkit.errors import InputError
from detkit.structures import Target

SEEDS = range(6)
NEVER = {"horizontal_flip": 0.0}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def tight(mask: torch.Tensor) -> list[int]:
    x, y, width, height = cv2.boundingRect(mask.numpy().astype(np.uint8))
    return [x, y, x + width, y + height]


def rectangles(seed: int, count: int = 4, height: int = 90, width: int = 120) -> tuple[np.ndarray, Target]:
    """Filled rectangles, each of its own color on black and apart from the others, with masks and corner keypoints."""
    random = rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    boxes, masks = np.zeros((count, 4)), np.zeros((count, height, width), dtype=bool)
    for row in range(count):
        left = row * width // count
        x = left + int(random.integers(1, 5))
        y = int(random.integers(0, height // 2))
        x2 = x + int(random.integers(12, width // count - 6))
        y2 = y + int(random.integers(12, height // 2))
        image[y:y2, x:x2] = (60 * (row + 1), 255 - 60 * row, 128)
        masks[row, y:y2, x:x2] = True
        boxes[row] = x, y, x2, y2
    boxes = torch.from_numpy(boxes).float()
    inset = boxes + torch.tensor([0.5, 0.5, -0.5, -0.5])
    corners = torch.stack([inset[:, [0, 1]], inset[:, [2, 1]], inset[:, [2, 3]], inset[:, [0, 3]]], dim=1)
    return image, Target(
        boxes=boxes,
        labels=torch.arange(count),
        masks=torch.from_numpy(masks),
        keypoints=torch.cat([corners, torch.full((count, 4, 1), 2.0)], dim=2),
        iscrowd=torch.arange(count) == 2,
        area=torch.from_numpy(masks.sum(axis=(1, 2))).float(),
        image_id=5,
    )


def check_colors(image: np.ndarray, target: Target, tolerance: int = 0, margin: int = 0, share: float = 1.0) -> None:
    """Each object's mask, but for its margin, lies on its own color: the label says which, whatever moved."""
    for mask, label in zip(target.masks.numpy(), target.labels.tolist(), strict=True):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * margin + 1,) * 2), borderValue=0).astype(bool)
        color = np.array([60 * (label + 1), 255 - 60 * label, 128])
        right = (np.abs(image[inner].astype(int) - color) <= tolerance).all(axis=1)
        assert right.sum() >= share * right.size


def check_keypoints(image: np.ndarray, target: Target) -> None:
    """Each visible keypoint lies on its object's color."""
    for points, label in zip(target.keypoints.numpy(), target.labels.tolist(), strict=True):
        for x, y, visible in points:
            if visible:
                assert image[min(int(y), len(image) - 1), min(int(x), image.shape[1] - 1)][0] == 60 * (label + 1)


def test_no_variation_changes_nothing():
    image, target = rectangles(0)
    varied, same = Augmentation(horizontal_flip=0)(image, target, rng(0))
    assert np.array_equal(varied, image)
    for name in ("boxes", "labels", "masks", "keypoints", "iscrowd", "area"):
        assert torch.equal(getattr(same, name), getattr(target, name)), name
    assert same.image_id == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_mirror(seed: int):
    image, target = rectangles(seed)
    target = replace(target, boxes=target.boxes + 0.3)
    varied, mirrored = Augmentation(horizontal_flip=1)(image, target, rng(seed), [(0, 1), (2, 3)])
    assert np.array_equal(varied, image[:, ::-1])
    x1, y1, x2, y2 = target.boxes.unbind(1)
    assert torch.allclose(mirrored.boxes, torch.stack([120 - x2, y1, 120 - x1, y2], 1), atol=1e-4)
    assert torch.equal(mirrored.masks, target.masks.flip(2))
    swapped = target.keypoints[:, [1, 0, 3, 2]]
    assert torch.allclose(mirrored.keypoints, swapped * torch.tensor([-1, 1, 1]) + torch.tensor([120, 0, 0]))
    assert torch.equal(mirrored.labels, target.labels)
    assert torch.equal(mirrored.area, target.area)


def test_mirroring_twice_keeps_left_and_right():
    image, target = rectangles(1)
    varied, turned = Augmentation(horizontal_flip=1, vertical_flip=1)(image, target, rng(0), [(0, 1), (2, 3)])
    assert np.array_equal(varied, image[::-1, ::-1])
    assert torch.allclose(turned.keypoints[..., 0], 120 - target.keypoints[..., 0])
    assert torch.allclose(turned.keypoints[..., 1], 90 - target.keypoints[..., 1])


@given(seed=st.integers(0, 2**32), flips=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=80, deadline=None)
def test_crop_keeps_pixels_boxes_masks_and_points_together(seed: int, flips: tuple[bool, bool]):
    image, target = rectangles(seed % 50)
    augmentation = Augmentation(float(flips[0]), float(flips[1]), crop=1.0, crop_size=(0.2, 1.0))
    varied, cut = augmentation(image, target, rng(seed))
    assert cut.masks.shape[1:] == varied.shape[:2]
    check_colors(varied, cut)
    check_keypoints(varied, cut)
    for box, mask in zip(cut.boxes.tolist(), cut.masks, strict=True):
        assert box == tight(mask)
    assert torch.allclose(cut.area, cut.masks.sum((1, 2)).float(), rtol=1e-5)
    visible = cut.masks.sum((1, 2)) / target.masks.sum((1, 2))[cut.labels]
    expected = (visible < 0.25) | target.iscrowd[cut.labels]
    assert torch.equal(cut.iscrowd, expected)
    gone = sorted(set(range(4)) - set(cut.labels.tolist()))
    colors = {60 * (label + 1) for label in gone}
    assert not colors & set(np.unique(varied[..., 0]).tolist())  # what was dropped is not to be seen


@given(seed=st.integers(0, 2**32), zoom=st.floats(0.3, 4.0))
@settings(max_examples=80, deadline=None)
def test_zoom_keeps_pixels_boxes_masks_and_points_together(seed: int, zoom: float):
    image, target = rectangles(seed % 50)
    varied, moved = Augmentation(horizontal_flip=0.5, zoom=(zoom, zoom))(image, target, rng(seed))
    assert varied.shape == image.shape
    assert moved.masks.shape[1:] == varied.shape[:2]
    check_colors(varied, moved, tolerance=2, margin=int(zoom) + 2)
    for box, mask in zip(moved.boxes.tolist(), moved.masks, strict=True):
        if mask.any():
            assert np.abs(np.subtract(box, tight(mask))).max() <= 1.0
    assert ((moved.boxes >= 0) & (moved.boxes <= torch.tensor([120, 90, 120, 90]))).all()
    learned = moved[moved.masks.sum((1, 2)) > 100]
    assert torch.allclose(learned.area, learned.masks.sum((1, 2)).float(), rtol=0.25)


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_without_masks_are_clipped_precisely(seed: int):
    random = rng(seed)
    low = torch.from_numpy(random.random((30, 2)) * 60).float()
    boxes = torch.cat([low, low + torch.from_numpy(random.random((30, 2)) * 30 + 0.5).float()], 1)
    target = Target(boxes, torch.arange(30), area=(boxes[:, 2:] - boxes[:, :2]).prod(1))
    image = noise(100, 100, seed)
    augmentation = Augmentation(horizontal_flip=0, crop=1.0, crop_size=(0.3, 0.9), min_visibility=0.4)
    varied, cut = augmentation(image, target, rng(seed))
    height, width = varied.shape[:2]
    corner = next(  # where the crop was taken, found by its pixels
        (x, y)
        for y in range(101 - height)
        for x in range(101 - width)
        if np.array_equal(image[y, x : x + width], varied[0]) and np.array_equal(image[y : y + height, x], varied[:, 0])
    )
    moved = boxes - torch.tensor([*corner, *corner])
    clipped = moved.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    sides = clipped[:, 2:] - clipped[:, :2]
    left = sides.prod(1).clamp(min=0) * (sides > 0).all(1) / target.area
    assert cut.labels.tolist() == torch.nonzero(left > 0)[:, 0].tolist()
    assert torch.allclose(cut.boxes, clipped[left > 0], atol=1e-3)
    too_little = (left < 0.4) | (sides.min(1).values < 1)
    assert torch.equal(cut.iscrowd, too_little[left > 0])
    assert torch.allclose(cut.area, (left * target.area)[left > 0], rtol=1e-3, atol=1e-3)


def test_crop_holds_the_center_of_an_object():
    image = noise(100, 100)
    target = Target(torch.tensor([[90.0, 2, 99, 9]]), torch.tensor([0]))
    augmentation = Augmentation(crop=1.0, crop_size=(0.2, 0.3), min_visibility=0)
    for seed in range(50):
        _, cut = augmentation(image, target, rng(seed))
        assert len(cut) == 1


def test_tiny_remains_become_ignore_regions():
    image = noise(100, 100)
    target = Target(torch.tensor([[10.0, 10, 12, 12]]), torch.tensor([0]))
    _, small = Augmentation(zoom=(0.3, 0.3))(image, target, rng(0))
    assert small.iscrowd.tolist() == [True]
    assert small.boxes[0, 2] - small.boxes[0, 0] == pytest.approx(0.6, abs=0.02)


AUGMENTATIONS = {
    "crop": Augmentation(crop=1.0),
    "zoom": Augmentation(zoom=(0.5, 2)),
    "color": Augmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
    "transforms": Augmentation(
        transforms=[albumentations.Affine(rotate=(-20, 20), p=1), albumentations.GaussNoise(p=0.5)]
    ),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_without_objects(name: str):
    image, target = rectangles(0, count=4)
    for empty in (target[torch.zeros(4, dtype=torch.bool)], Target.empty(3)):
        varied, none = AUGMENTATIONS[name](image, empty, rng(0))
        assert varied.dtype == np.uint8
        assert len(none) == 0
        if empty.masks is not None:
            assert none.masks.shape == (0, *varied.shape[:2])
            assert none.keypoints.shape == (0, 4, 3)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides_all(name: str):
    image, target = rectangles(0)
    before = image.copy()
    results = [AUGMENTATIONS[name](image, target, rng(seed)) for seed in (1, 2, 1, 3)]
    assert np.array_equal(results[0][0], results[2][0])
    assert torch.equal(results[0][1].boxes, results[2][1].boxes)
    assert not np.array_equal(results[0][0], results[1][0])
    assert not np.array_equal(results[0][0], results[3][0])
    assert np.array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (40, 2)])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_tiny_images(name: str, size: tuple[int, int]):
    image = noise(*size)
    target = Target(torch.tensor([[0.0, 0, size[1], size[0]]]), torch.tensor([0]))
    for seed in range(5):
        varied, moved = AUGMENTATIONS[name](image, target, rng(seed))
        assert min(varied.shape) >= 1
        assert (moved.boxes[:, 2:] <= torch.tensor(varied.shape[1::-1])).all()


def test_pickles():
    augmentation = pickle.loads(pickle.dumps(AUGMENTATIONS["transforms"]))
    image, target = rectangles(0)
    expected = AUGMENTATIONS["transforms"](image, target, rng(4))
    assert np.array_equal(augmentation(image, target, rng(4))[0], expected[0])


# ---- colors ----


def colors_of(image: np.ndarray, **options) -> np.ndarray:
    return Augmentation(horizontal_flip=0, **options)(image, Target.empty(), rng(3))[0]


def test_gray_stays_gray_and_bright_where_only_chroma_changes():
    gray = np.repeat(noise(20, 20)[..., :1], 3, axis=2)
    changed = colors_of(gray, saturation=0.9, hue=0.5)
    assert np.abs(changed.astype(int) - gray).max() <= 1


def test_brightness_is_one_factor():
    image = noise(20, 20) // 2 + 10
    ratio = colors_of(image, brightness=0.5) / image
    assert 0.5 <= ratio.mean() <= 1.5
    assert ratio.std() < 0.02
    assert abs(ratio.mean() - 1) > 0.01


def test_contrast_turns_about_the_middle():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    changed = colors_of(image, contrast=0.5).astype(int)
    assert abs(changed[7, 15, 0] - 127) <= 1
    assert (np.diff(changed.reshape(-1, 3)[:, 0]) >= 0).all()
    assert not np.array_equal(changed, image)


def test_hue_keeps_brightness():
    image = noise(20, 20) // 4 + 96
    changed = colors_of(image, hue=0.5)
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(changed @ luma - image @ luma).max() < 2
    assert np.abs(changed.astype(int) - image).max() > 5


# ---- albumentations ----


def through(transform, image, target, seed=0, pairs=(), **options):
    return Augmentation(horizontal_flip=0, transforms=[transform], **options)(image, target, rng(seed), pairs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "transform", [albumentations.NoOp(p=1), albumentations.CoarseDropout(fill=7, hole_height_range=(1, 1), p=1)]
)
def test_what_moves_nothing_keeps_every_digit(transform, seed: int):
    random = rng(seed)
    image, target = rectangles(seed)
    boxes = target.boxes + torch.from_numpy(random.random((4, 4)) * 0.9).float()
    boxes[0, 0], boxes[3, 2] = 0, 120  # at the border
    target = replace(target, boxes=boxes, masks=None)
    _, same = through(transform, image, target, seed)
    assert torch.equal(same.boxes, boxes)
    assert torch.equal(same.labels, target.labels)
    assert torch.allclose(same.keypoints, target.keypoints, atol=1e-3)
    assert torch.equal(same.iscrowd, target.iscrowd)


def test_boxes_a_little_outside_do_not_crash():
    image = noise(90, 120)
    boxes = torch.tensor([[-1e-4, -1e-5, 50, 60], [100, 80, 120.0001, 90.00001]])
    _, same = through(albumentations.HorizontalFlip(p=1), image, Target(boxes, torch.tensor([0, 1])))
    assert same.labels.tolist() == [0, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_flip_is_ours(seed: int):
    image, target = rectangles(seed)
    ours = Augmentation(horizontal_flip=1)(image, target, rng(0), [(0, 1), (2, 3)])
    theirs = through(albumentations.HorizontalFlip(p=1), image, target, 0, [(0, 1), (2, 3)])
    assert np.array_equal(ours[0], theirs[0])
    for name in ("boxes", "masks", "keypoints", "area", "labels", "iscrowd"):
        assert torch.allclose(getattr(ours[1], name).float(), getattr(theirs[1], name).float(), atol=1e-3), name


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "transform",
    [
        albumentations.RandomCrop(50, 60, p=1),
        albumentations.D4(p=1),
        albumentations.RandomResizedCrop((64, 80), p=1),
        albumentations.Affine(rotate=(-30, 30), scale=(0.7, 1.3), p=1),
        albumentations.OneOf([albumentations.Transpose(p=1), albumentations.Perspective(p=1)], p=1),
        albumentations.GridDistortion(p=1),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_transforms_keep_boxes_masks_and_labels_together(transform, seed: int):
    image, target = rectangles(seed)
    varied, moved = through(transform, image, target, seed)
    assert moved.masks.shape[1:] == varied.shape[:2]
    assert len(moved.boxes) == len(moved.labels) == len(moved.masks) == len(moved.keypoints) == len(moved.area)
    check_colors(varied, moved, tolerance=40, margin=1, share=0.85)  # resampled
    for box, mask in zip(moved.boxes.tolist(), moved.masks, strict=True):
        if mask.sum() > 20:
            assert np.abs(np.subtract(box, tight(mask))).max() <= 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_random_crop_makes_ignore_regions(seed: int):
    image, target = rectangles(seed)
    _, cut = through(albumentations.RandomCrop(40, 40, p=1), image, target, seed, min_visibility=0.5)
    visible = cut.masks.sum((1, 2)) / target.masks.sum((1, 2))[cut.labels]
    clear = (visible - 0.5).abs() > 0.05
    assert torch.equal(cut.iscrowd[clear], ((visible < 0.5) | target.iscrowd[cut.labels])[clear])


def test_color_transforms_leave_the_target_alone():
    image, target = rectangles(0)
    varied, same = through(albumentations.RandomGamma((150, 160), p=1), image, target)
    assert not np.array_equal(varied, image)
    assert torch.equal(same.boxes, target.boxes)


@pytest.mark.parametrize("transform", [albumentations.Normalize(p=1), albumentations.ToFloat(p=1)])
def test_transforms_must_give_uint8(transform):
    with pytest.raises(InputError, match="uint8 RGB"):
        through(transform, *rectangles(0))


def test_transforms_must_move_boxes():
    class OnlyMask(albumentations.DualTransform):
        _targets = ()

        @property
        def targets(self):
            return {"image": self.apply, "mask": self.apply_to_mask}

    with pytest.raises(InputError, match="OnlyMask changes the image but not its bboxes and keypoints and masks"):
        Augmentation(transforms=[albumentations.OneOf([OnlyMask()])])


def test_failing_transform_names_the_image():
    image, target = rectangles(0)
    with pytest.raises(InputError, match="transforms failed on image 5"):
        through(albumentations.MaskDropout(p=1), image, target)


@pytest.mark.parametrize(
    "options",
    [
        {"horizontal_flip": 1.5},
        {"crop": -0.1},
        {"crop_size": (0.8, 0.5)},
        {"crop_size": (0.0, 0.5)},
        {"zoom": (2, 1)},
        {"zoom": (0, 1)},
        {"hue": 0.7},
        {"min_visibility": 2},
    ],
)
def test_values_out_of_range(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Augmentation(**options)
