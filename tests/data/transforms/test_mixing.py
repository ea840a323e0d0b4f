"""Mixed images: the target describes what the pixels show."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from detkit.data import (
    Augmentation,
    CocoDataset,
    CopyPaste,
    DataModule,
    MixUp,
    Mosaic,
    ShapesOptions,
    TrainingDataset,
    draw_shapes,
    find_split,
)
from detkit.data.transforms.mixing import mix
from detkit.errors import InputError
from detkit.structures import Target

STAGES = {
    "mosaic": [Mosaic()],
    "mosaic of a size": [Mosaic(size=(96, 64), scale=(1, 3))],
    "mixup": [MixUp(1.0)],
    "copy-paste": [CopyPaste(1.0)],
    "all": [CopyPaste(0.8), Mosaic(0.8), MixUp(0.8)],
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> CocoDataset:
    options = ShapesOptions({"train": 24, "val": 1}, (48, 80), crowd_probability=0.4)
    root = draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)
    return CocoDataset(*find_split(root, "train"), reads={"masks", "keypoints"})


def box_of(mask: torch.Tensor) -> list[int]:
    y, x = torch.nonzero(mask, as_tuple=True)
    return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


@pytest.fixture(scope="module")
def samples(shapes: CocoDataset) -> list:
    return [shapes.read(index) for index in range(len(shapes))]


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_boxes_are_those_of_the_masks(shapes: CocoDataset, samples: list, stages: list):
    seen = crowds = 0
    for index in range(len(shapes)):
        random = np.random.default_rng([7, index])
        image, target = mix(stages, index, samples.__getitem__, len(samples), random)
        assert image.dtype == np.uint8
        assert target.masks.shape == (len(target), *image.shape[:2])
        assert target.keypoints.shape[1:] == (5, 3)
        assert target.image_id == shapes.image_ids[index]
        for box, mask, is_crowd in zip(target.boxes, target.masks, target.iscrowd, strict=True):
            crowds += int(is_crowd)
            if mask.any() and not is_crowd:
                assert box.tolist() == box_of(mask)
                seen += 1
            else:
                assert is_crowd
        points = target.keypoints[target.keypoints[..., 2] > 0]
        assert (points[:, :2] >= 0).all()
        assert (points[:, :2] <= torch.tensor(image.shape[1::-1])).all()
    assert seen > 50
    assert crowds > 5


def painted(random: np.random.Generator, number: int, size: tuple[int, int]) -> tuple[np.ndarray, Target]:
    """A gray image with rectangles whose color tells their label, the last a crowd region; keypoints are centers."""
    height, width = size
    image = np.full((height, width, 3), 100, dtype=np.uint8)
    boxes, labels, masks = [], [], []
    for column in range(4):
        x, y = column * width // 4 + 2, int(random.integers(2, height // 2))
        w, h = int(random.integers(12, width // 4 - 2)), int(random.integers(12, height // 2 - 2))
        label = int(random.integers(3))
        mask = np.zeros((height, width), dtype=bool)
        mask[y : y + h, x : x + w] = True
        image[mask] = np.eye(3, dtype=np.uint8)[label] * 255
        boxes.append([x, y, x + w, y + h])
        labels.append(label)
        masks.append(mask)
    boxes = torch.tensor(boxes, dtype=torch.float32)
    centers = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, torch.full((4, 1), 2.0)], dim=1)
    return image, Target(
        boxes=boxes,
        labels=torch.tensor(labels),
        masks=torch.from_numpy(np.stack(masks)),
        keypoints=centers[:, None],
        iscrowd=torch.tensor([False, False, False, True]),
        area=(boxes[:, 2:] - boxes[:, :2]).prod(dim=1),
        difficult=torch.tensor([True, False, False, False]),
        image_id=number,
    )


@pytest.fixture(scope="module")
def rectangles() -> list[tuple[np.ndarray, Target]]:
    random = np.random.default_rng(3)
    return [painted(random, number, (70 + 10 * (number % 3), 80 + 10 * (number % 2))) for number in range(8)]


@pytest.mark.parametrize("stages", [[Mosaic()], [CopyPaste(1.0)], [CopyPaste(1.0), Mosaic()]], ids=["m", "c", "cm"])
def test_pixels_labels_masks_and_keypoints_agree(rectangles: list, stages: list):
    seen = 0
    for index in range(len(rectangles)):
        for seed in range(6):
            random = np.random.default_rng([seed, index])
            image, target = mix(stages, index, rectangles.__getitem__, len(rectangles), random)
            for row in range(len(target)):
                pixels = image[target.masks[row].numpy()].astype(int)
                if len(pixels) < 60:
                    continue
                seen += 1
                pure = np.eye(3)[int(target.labels[row])] * 255
                agreeing = (np.abs(pixels - pure).max(axis=1) < 100).mean()
                assert agreeing > 0.7, (index, seed, row)
            shown = np.abs(image.astype(int) - 100).max(axis=-1) > 100  # what is not gray is an object
            assert (shown & ~target.masks.any(dim=0).numpy()).mean() < 0.01
    assert seen > 100


def test_mosaic_scales_and_cuts(rectangles: list):
    mosaic = Mosaic(size=(160, 200), center=0.5, scale=(1, 1))
    first = rectangles[0]
    image, target = mosaic(first, lambda: rectangles[1], np.random.default_rng(0))
    assert image.shape == (160, 200, 3)
    counted = target.labels.tolist()
    height, width = first[0].shape[:2]
    factor = max(80 / height, 100 / width)
    whole = target[(target.boxes[:, 2] < 99) & (target.boxes[:, 3] < 79)]
    for row in range(len(whole)):
        sides = whole.boxes[row, 2:] - whole.boxes[row, :2]
        assert float(whole.area[row]) == pytest.approx(float(sides.prod()), rel=0.15)
        middle = (whole.boxes[row, :2] + whole.boxes[row, 2:]) / 2
        if (whole.boxes[row, :2] > 1).all():
            assert torch.allclose(whole.keypoints[row, 0, :2], middle, atol=1.2)
            assert (sides / factor).min() > 10
    assert len(counted) >= 12
    assert target.difficult.sum() >= 2
    assert target.iscrowd.sum() >= 2


def test_mixup_keeps_every_object(rectangles: list):
    for seed in range(10):
        (image, target), (other, objects) = rectangles[seed % 8], rectangles[(seed + 3) % 8]
        mixture, both = MixUp(1.0)((image, target), lambda other=other, objects=objects: (other, objects),
                                   np.random.default_rng(seed))  # fmt: skip
        assert mixture.shape[:2] == tuple(np.max([image.shape[:2], other.shape[:2]], axis=0))
        for name in ("boxes", "labels", "keypoints", "iscrowd", "area", "difficult"):
            parts = [getattr(target, name), getattr(objects, name)]
            assert torch.equal(getattr(both, name), torch.cat(parts)), name
        assert both.masks.sum() == target.masks.sum() + objects.masks.sum()
        height, width = np.min([image.shape[:2], other.shape[:2]], axis=0)
        overlap = [one[:height, :width].astype(float) for one in (image, other, mixture)]
        differs = np.abs(overlap[0] - overlap[1]) > 50
        shares = (overlap[2] - overlap[1])[differs] / (overlap[0] - overlap[1])[differs]
        assert np.ptp(shares) < 0.03
        assert 0.1 < shares.mean() < 0.9


def test_covered_objects_lose_what_is_covered():
    size = (40, 60)
    behind = rectangle(size, [10, 10, 30, 30], label=1)
    image = np.full((*size, 3), 50, dtype=np.uint8)
    front_image = np.full((*size, 3), 200, dtype=np.uint8)
    for box, expected, visibility, is_left in (
        ([20, 0, 60, 40], [10, 10, 20, 30], 1, True),
        ([10, 10, 26, 30], [26, 10, 30, 30], 1, False),  # a fifth is too little to learn from
        ([0, 0, 60, 40], None, 0, False),
        ([50, 0, 60, 40], [10, 10, 30, 30], 2, True),
    ):
        front = rectangle(size, box, label=2)
        paste = CopyPaste(1.0, share=1.0, scale=(1, 1))
        mixture, target = paste((image, behind), lambda front=front: (front_image, front), np.random.default_rng(0))
        assert target.labels.tolist() == ([2] if expected is None else [1, 2])
        assert np.array_equal(mixture == 200, np.repeat(front.masks[0].numpy()[..., None], 3, axis=-1))
        assert torch.equal(target.masks[-1], front.masks[0])
        assert target.boxes[-1].tolist() == box
        if expected is not None:
            assert target.boxes[0].tolist() == expected
            assert bool(target.iscrowd[0]) != is_left
            assert int(target.keypoints[0, 0, 2]) == visibility
            assert int(target.masks[0].sum()) == pytest.approx(float(target.area[0]))
            assert not (target.masks[0] & target.masks[1]).any()


def rectangle(size: tuple[int, int], box: list[int], label: int) -> Target:
    masks = torch.zeros(1, *size, dtype=torch.bool)
    masks[0, box[1] : box[3], box[0] : box[2]] = True
    boxes = torch.tensor([box], dtype=torch.float32)
    center = torch.tensor([[[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 2.0]]])
    return Target(boxes, torch.tensor([label]), masks=masks, keypoints=center, area=masks.sum(dim=(1, 2)).float())


def test_crowds_are_kept_and_never_pasted(rectangles: list):
    kept = 0
    for seed in range(20):
        (image, target), other = rectangles[seed % 8], rectangles[(seed + 1) % 8]
        paste = CopyPaste(1.0, share=1.0, min_visibility=0.0)
        _, both = paste((image, target), lambda other=other: other, np.random.default_rng(seed))
        crowd, pasted = target.masks[3], both.masks[~both.iscrowd]
        still_there = crowd & ~pasted.any(dim=0)
        assert int(both.iscrowd.sum()) == int(still_there.any())
        if still_there.any():
            assert torch.equal(both.masks[both.iscrowd][0], still_there)
            kept += 1
    assert kept > 10


@pytest.mark.parametrize("stage", [Mosaic(), MixUp(1.0), CopyPaste(1.0)], ids=lambda stage: type(stage).__name__)
def test_images_without_objects(stage):
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 30, 40, dtype=torch.bool))
    sample = np.zeros((30, 40, 3), dtype=np.uint8), empty
    image, target = stage(sample, lambda: sample, np.random.default_rng(0))
    assert image.shape == (30, 40, 3)
    assert target.masks.shape == (0, 30, 40)


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_the_generator_alone_decides_and_inputs_stay(samples: list, stages: list):
    copies = [(image.copy(), target.boxes.clone(), target.masks.clone()) for image, target in samples]
    outcomes = [mix(stages, 3, samples.__getitem__, len(samples), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    (first, one), (again, same), (other, _) = outcomes
    assert np.array_equal(first, again)
    for field in fields(Target):
        if isinstance(getattr(one, field.name), torch.Tensor):
            assert torch.equal(getattr(one, field.name), getattr(same, field.name))
    assert first.shape != other.shape or not np.array_equal(first, other)
    for (image, target), (pixels, boxes, masks) in zip(samples, copies, strict=True):
        assert np.array_equal(image, pixels)
        assert torch.equal(target.boxes, boxes)
        assert torch.equal(target.masks, masks)


def test_without_masks(shapes: CocoDataset):
    plain = CocoDataset(shapes.images_path, shapes.annotations_path)
    for index in range(10):
        image, target = mix([Mosaic(), MixUp(1.0)], index, plain.read, 24, np.random.default_rng(index))
        assert target.masks is None
        assert (target.boxes >= 0).all()
        assert (target.boxes[:, 2:] <= torch.tensor(image.shape[1::-1])).all()
        assert (target.boxes[:, 2:] > target.boxes[:, :2]).all()
    with pytest.raises(InputError, match=r"data\.reads: \[masks\]"):
        mix([CopyPaste(1.0)], 0, plain.read, 24, np.random.default_rng(0))


def test_in_training(shapes: CocoDataset):
    dataset = TrainingDataset(shapes, Augmentation(zoom=(0.7, 1.4)), 5, [Mosaic(), MixUp(1.0)], mixing_epochs=2)
    alone = TrainingDataset(shapes, Augmentation(zoom=(0.7, 1.4)), 5)
    counts = [sum(len(dataset[index, epoch][1]) for index in range(8)) for epoch in range(3)]
    assert counts[2] == sum(len(alone[index, 2][1]) for index in range(8))
    assert min(counts[:2]) > 1.5 * counts[2]
    image, target = dataset[4, 1]
    assert torch.equal(image, dataset[4, 1][0])
    assert target.masks.shape[1:] == image.shape[1:]
    root = shapes.images_path.parents[1]
    batches = []
    for workers in (0, 2):
        data = DataModule(root, batch_size=4, num_workers=workers, mixing=[Mosaic()], reads=["masks"])
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(0)
        batches.append(list(loader))
    for (images, targets), (others, more) in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(images, others, strict=True))
        assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(targets, more, strict=True))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Mosaic(1.5), "Mosaic.probability"),
        (lambda: Mosaic(size=(4, 100)), "Mosaic.size"),
        (lambda: Mosaic(center=0), "Mosaic.center"),
        (lambda: Mosaic(scale=(0.5, 1)), "Mosaic.scale"),
        (lambda: MixUp(alpha=0), "MixUp.alpha"),
        (lambda: CopyPaste(scale=(0, 1)), "CopyPaste.scale"),
        (lambda: CopyPaste(share=-1), "CopyPaste.share"),
    ],
)
def test_wrong_values_are_named(make, word: str):
    with pytest.raises(InputError, match=word):
        make()
