"""SSD's expansion and crops: what the paper promises of every patch, and what becomes of the objects."""

import numpy as np
import pytest
import torch

from detkit.data import Augmentation, Expand, MinIoUCrop
from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.structures import Target

HEIGHT, WIDTH = 90, 120
SEEDS = range(12)
PIXELS = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT), [7]), axis=-1)[..., 0, :].astype(np.uint8)


def plain_image():
    """Each pixel says where it was, so that a result shows its window."""
    return PIXELS.copy()


def random_target(seed, count=4):
    random = np.random.default_rng(seed)
    corners = np.sort(random.random((count, 2, 2)) * 0.9, axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] + 0.08], axis=1) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    return Target(torch.from_numpy(boxes).float(), torch.arange(count))


def through(transform, target, seed):
    augmentation = Augmentation(horizontal_flip=0, min_visibility=0.0, transforms=[transform])
    return augmentation(plain_image(), target, np.random.default_rng(seed))


def window_of(varied):
    """x1 y1 x2 y2 of a crop in the image it was cut from."""
    return torch.tensor([[varied[0, 0, 0], varied[0, 0, 1], varied[-1, -1, 0] + 1.0, varied[-1, -1, 1] + 1.0]])


@pytest.mark.parametrize(("min_iou", "by_chance"), [(0.5, 0.6), (0.7, 0.3)])
def test_patches_have_the_iou_that_was_asked_for(min_iou, by_chance):
    target = Target(torch.tensor([[20.0, 10, 90, 70]]), torch.tensor([0]))

    def share(min_ious):
        windows = [window_of(through(MinIoUCrop(min_ious), target, seed)[0]) for seed in range(60)]
        patches = [window for window in windows if window.tolist() != [[0, 0, WIDTH, HEIGHT]]]
        return np.mean([box_iou(window, target.boxes).item() >= min_iou for window in patches])

    assert share(()) < by_chance
    # All but two of the choices, so that hardly any patch is without the condition.
    assert share([min_iou] * 500) >= 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_stay_whose_center_lies_in_the_patch_cut_to_it(seed):
    target = random_target(seed)
    varied, cut = through(MinIoUCrop(), target, seed)
    x1, y1, x2, y2 = window_of(varied)[0].tolist()
    expected, labels = [], []
    for (left, top, right, bottom), label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
        if x1 <= (left + right) / 2 <= x2 and y1 <= (top + bottom) / 2 <= y2:
            labels.append(label)
            box = [max(left, x1) - x1, max(top, y1) - y1, min(right, x2) - x1, min(bottom, y2) - y1]
            expected.append(box)
    assert labels
    assert cut.labels.tolist() == labels
    torch.testing.assert_close(cut.boxes, torch.tensor(expected), atol=1e-3, rtol=0)


def test_patches_have_the_sizes_and_shapes_of_the_paper():
    sides = []
    for seed in range(300):
        varied, _ = through(MinIoUCrop(min_ious=()), random_target(seed), seed)
        sides.append((varied.shape[1] / WIDTH, varied.shape[0] / HEIGHT))
    width, height = np.array(sides).T
    whole = (width == 1) & (height == 1)
    assert 0.4 < whole.mean() < 0.6  # one choice of two
    area, ratio = (width * height)[~whole], (width / height)[~whole]
    assert area.min() < 0.15
    assert area.max() > 0.85
    assert (area > 0.08).all()  # 0.3 squared, and whole pixels
    assert ((ratio > 0.48) & (ratio < 2.1)).all()
    assert ratio.min() < 0.65
    assert ratio.max() > 1.6


@pytest.mark.parametrize("seed", SEEDS)
def test_crowd_regions_stay_where_they_overlap_and_no_patch_is_for_them(seed):
    boxes = torch.tensor([[70.0, 50, 84, 66], [0, 0, 60, 90]])
    target = Target(boxes, torch.tensor([0, 1]), iscrowd=torch.tensor([False, True]))
    varied, cut = through(MinIoUCrop(), target, seed)
    x1, y1, x2, y2 = window_of(varied)[0].tolist()
    assert x1 <= 77 <= x2
    assert y1 <= 58 <= y2
    assert cut.iscrowd.tolist() == ([False, True] if x1 < 60 else [False])


@pytest.mark.parametrize("seed", SEEDS)
def test_expansion_moves_objects_with_their_pixels(seed):
    target = random_target(seed)
    varied, moved = through(Expand(fill=(200, 201, 202), p=1.0), target, seed)
    height, width = varied.shape[:2]
    assert 1 <= width / WIDTH <= 4.01
    assert width / WIDTH == pytest.approx(height / HEIGHT, abs=0.02)
    corner = np.argwhere((varied == PIXELS[0, 0]).all(axis=-1))[0]  # y x of the first pixel of the image
    assert np.array_equal(varied[corner[0] : corner[0] + HEIGHT, corner[1] : corner[1] + WIDTH], PIXELS)
    around = np.ones(varied.shape[:2], dtype=bool)
    around[corner[0] : corner[0] + HEIGHT, corner[1] : corner[1] + WIDTH] = False
    assert (varied[around] == [200, 201, 202]).all()
    shift = torch.tensor([corner[1], corner[0], corner[1], corner[0]])
    torch.testing.assert_close(moved.boxes, target.boxes + shift, atol=1e-3, rtol=0)
    assert moved.labels.tolist() == target.labels.tolist()


def test_half_of_the_images_are_expanded_to_all_positions():
    sizes = [through(Expand(), Target.empty(), seed)[0].shape[1] for seed in range(200)]
    assert 0.4 < np.mean([size == WIDTH for size in sizes]) < 0.6
    assert max(sizes) > 3.5 * WIDTH


@pytest.mark.parametrize("transform", [MinIoUCrop(), Expand(p=1.0)])
def test_images_without_objects(transform):
    shapes = set()
    for seed in range(20):
        varied, none = through(transform, Target.empty(), seed)
        assert len(none) == 0
        shapes.add(varied.shape)
    assert len(shapes) > 5


@pytest.mark.parametrize("transform", [MinIoUCrop(), Expand(p=1.0)])
def test_the_generator_decides_all(transform):
    target = random_target(0)
    one, other, same = (through(transform, target, seed) for seed in (1, 2, 1))
    assert np.array_equal(one[0], same[0])
    assert torch.equal(one[1].boxes, same[1].boxes)
    assert one[0].shape != other[0].shape


def test_masks_and_keypoints_go_with_their_objects():
    target = random_target(3)
    masks = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, target.boxes.round().int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    keypoints = torch.cat((centers, torch.full((4, 1), 2.0)), dim=1)[:, None]
    target = Target(target.boxes, target.labels, masks=masks, keypoints=keypoints)
    for seed in SEEDS:
        varied, cut = through(MinIoUCrop(), target, seed)
        x1, y1, x2, y2 = (int(x) for x in window_of(varied)[0])
        assert torch.equal(cut.masks, masks[cut.labels][:, y1:y2, x1:x2])
        assert (cut.keypoints[..., 2] == 2).all()  # centers of objects that stay are inside
        torch.testing.assert_close(cut.keypoints[:, 0, :2], centers[cut.labels] - torch.tensor([x1, y1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Expand(max_factor=0.5), "max_factor"),
        (lambda: MinIoUCrop(scale=(0.5, 1.5)), "scale"),
        (lambda: MinIoUCrop(aspect_ratio=(1.5, 2.0)), "aspect_ratio"),
        (lambda: MinIoUCrop(trials=0), "trials"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
