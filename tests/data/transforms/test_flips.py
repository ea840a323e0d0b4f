"""Plain flips take a path of their own, with the results of any other placement."""

import numpy as np
import pytest
import torch

from detkit.data import Augmentation, TrainingDataset
from detkit.data.transforms import transform_target
from detkit.data.transforms.transform_target import place_target
from detkit.geometry import Placement
from detkit.images import to_tensor
from detkit.ops import masks_to_rle
from detkit.structures import Meshes, PointClouds, Target

SIZE = (30, 41)
FLIPS = pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
PAIRS = [(0, 1)]


def _target(seed, out_of_frame=False, small=False, runs=False, crowds=True):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(5, 2, generator=generator) * 15
    boxes = torch.cat((corners, corners + 1.5 + torch.rand(5, 2, generator=generator) * 13), 1)
    if out_of_frame:
        boxes[1, 2] = 50.0
    if small:
        boxes[2, 2] = boxes[2, 0] + 0.5
    masks = torch.rand(5, *SIZE, generator=generator) > 0.5
    masks[4] = False
    return Target(
        boxes,
        torch.arange(5),
        masks=masks_to_rle(masks) if runs else masks,
        keypoints=torch.rand(5, 3, 3, generator=generator) * 45,
        iscrowd=torch.tensor([False, True, False, False, True]) if crowds else None,
        area=torch.rand(5, generator=generator) * 99,
        difficult=torch.tensor([True, False, False, False, True]),
        image_id=seed,
        image_label=3,
        label_map=torch.randint(0, 9, SIZE, generator=generator, dtype=torch.uint8),
        panoptic_map=torch.randint(-1, 2**22, SIZE, generator=generator, dtype=torch.int32),
        camera=torch.rand(3, 3, generator=generator),
        proposals=boxes + 3,
        meshes=Meshes([torch.rand(4, 3, generator=generator)] * 5, [torch.tensor([[0, 1, 2], [1, 2, 3]])] * 5),
        voxels=PointClouds([torch.rand(count, 3, generator=generator) for count in range(5)]),
    )


def _equal(one, other):
    for name in Target.kinds():
        value, expected = getattr(one, name), getattr(other, name)
        if isinstance(expected, torch.Tensor):
            assert value.dtype == expected.dtype, name
            assert torch.equal(value, expected), name
        elif isinstance(expected, Meshes):
            assert torch.equal(value.vertices, expected.vertices)
            assert torch.equal(value.faces, expected.faces)
        elif isinstance(expected, PointClouds):
            assert torch.equal(value.points, expected.points)
            assert torch.equal(value.counts, expected.counts)
        elif name == "masks" and expected is not None:
            assert value.to_coco() == expected.to_coco()
        else:
            assert value == expected, name


@FLIPS
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "case", [{}, {"out_of_frame": True}, {"small": True}, {"runs": True}, {"crowds": False}], ids=str
)
def test_targets_equal_those_of_any_placement(flips, seed, case, monkeypatch):
    placement, target = Placement.identity(SIZE).then(Placement.mirror(SIZE, *flips)), _target(seed, **case)
    fast = place_target(placement, target, PAIRS, 0.25)
    monkeypatch.setattr(transform_target, "flip_target", lambda *_: None)
    _equal(fast, place_target(placement, target, PAIRS, 0.25))


def test_an_image_without_objects_or_boxes_is_flipped_too(monkeypatch):
    placement = Placement.mirror(SIZE, True, False)
    targets = [Target.empty(), Target(image_id=1), _target(0)[:0]]
    fast = [place_target(placement, target, PAIRS, 0.25) for target in targets]
    monkeypatch.setattr(transform_target, "flip_target", lambda *_: None)
    for one, target in zip(fast, targets, strict=True):
        _equal(one, place_target(placement, target, PAIRS, 0.25))


@FLIPS
@pytest.mark.parametrize("size", [(30, 41), (1, 1), (7, 64), (33, 2)])
def test_planes_are_flipped_as_the_image(flips, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = to_tensor(Placement.mirror(size, *flips).image(image))
    given = image.copy()
    assert torch.equal(to_tensor(image, flips), expected)
    assert np.array_equal(image, given)


@FLIPS
def test_masks_are_flipped_as_pixels(flips):
    masks = np.random.default_rng(0).random((4, *SIZE)) > 0.5
    moved = Placement.mirror(SIZE, *flips).masks(masks)
    assert np.array_equal(moved, masks[:, :: -1 if flips[1] else 1, :: -1 if flips[0] else 1])


class Called(Augmentation):
    """A user's change of the augmentation."""

    def __call__(self, image, target, random, keypoint_pairs=()):
        return super().__call__(255 - image, target, random, keypoint_pairs)


class Noise:
    """Images in memory."""

    keypoint_pairs = PAIRS
    image_ids = range(3)

    def __len__(self):
        return 3

    def read(self, index):
        return np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8), _target(index)


@pytest.mark.parametrize("augmentation", [Augmentation(0.5, 0.5, zoom=(0.8, 1.2), brightness=0.2), Called(0.5)])
def test_a_training_sample_is_what_the_augmentation_gives(augmentation):
    dataset = Noise()
    for index, epoch in [(index, epoch) for index in range(3) for epoch in range(4)]:
        image, target = augmentation(*dataset.read(index), np.random.default_rng([7, epoch, index]), PAIRS)
        tensor, our_target = TrainingDataset(dataset, augmentation, seed=7)[index, epoch]
        assert torch.equal(tensor, to_tensor(image))
        _equal(our_target, target)
