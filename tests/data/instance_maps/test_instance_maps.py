"""Maps and weights made of masks: against loops over pixels in double precision, and SciPy."""

import os
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from scipy import ndimage

from detkit.data import DataModule, InstanceMaps, ShapesOptions, draw_shapes, open_split, separation_weights
from detkit.data.conversion import convert
from detkit.data.instance_maps import paint_masks, two_nearest
from detkit.errors import InputError
from detkit.ops import masks_to_rle
from detkit.testing import check_dataset

NUCLEI = Path(os.environ.get("DETKIT_SHARED", "../shared")) / "data" / "nuclei"


def _masks(seed: int, count: int, size=(23, 31)) -> torch.Tensor:
    """Random rectangles; some overlap."""
    random = np.random.default_rng(seed)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for mask in masks:
        y, x = random.integers(0, size[0] - 3), random.integers(0, size[1] - 3)
        mask[y : y + random.integers(1, 7), x : x + random.integers(1, 7)] = True
    return masks


def _distances(masks: np.ndarray) -> np.ndarray:
    """The sorted distances ``(N, H, W)`` of every pixel to every object, by comparing all pixels."""
    height, width = masks.shape[1:]
    grid = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(np.float64)
    every = []
    for mask in masks:
        own = np.argwhere(mask).astype(np.float64)
        every.append(np.sqrt(((grid[:, None] - own) ** 2).sum(axis=-1)).min(axis=1).reshape(height, width))
    return np.sort(every, axis=0)


@pytest.mark.parametrize("seed", [0, 1, None])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_separation_weights_by_brute_force(seed, count):
    seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
    masks = _masks(seed, count)
    d1, d2 = _distances(masks.numpy())[:2]
    expected = 10 * np.exp(-((d1 + d2) ** 2) / (2 * 5.0**2))
    for objects in (masks, masks_to_rle(masks)):
        np.testing.assert_allclose(separation_weights(objects), expected, rtol=1e-6, atol=2e-7, err_msg=str(seed))
    expected = 3 * np.exp(-((d1 + d2) ** 2) / (2 * 1.5**2))
    np.testing.assert_allclose(separation_weights(masks, 3, 1.5), expected, rtol=1e-6, atol=1e-7, err_msg=str(seed))


def test_a_panoptic_map_gives_the_weights_of_its_instances():
    masks = _masks(3, 4)
    panoptic = paint_masks(masks, torch.tensor([0, 0, 2, 1]))
    panoptic[:2] = 5 * 65536  # stuff, which is no object
    apart = torch.stack([panoptic == value for value in panoptic.unique().tolist() if value >= 0 and value % 65536])
    assert torch.equal(separation_weights(panoptic), separation_weights(apart))
    assert separation_weights(panoptic).max() > 1


@pytest.mark.parametrize("count", [0, 1])
def test_one_object_needs_no_separation(count):
    weights = separation_weights(_masks(1, count))
    assert weights.shape == (23, 31)
    assert not weights.any()


def test_touching_objects_have_the_largest_weight():
    masks = torch.zeros(2, 4, 8, dtype=torch.bool)
    masks[0, :, :4] = masks[1, :, 4:] = True
    assert separation_weights(masks, 10, 5)[0, 3] == pytest.approx(10 * np.exp(-1 / 50))


@pytest.mark.parametrize("seed", range(3))
def test_distances_by_scipy(seed):
    masks = _masks(seed, 5).numpy()
    expected = np.sort([ndimage.distance_transform_edt(~mask) for mask in masks], axis=0)
    for row, distance in enumerate(two_nearest(torch.from_numpy(masks), 9.0)):
        known = expected[row] <= 9
        np.testing.assert_allclose(distance[known], expected[row][known], rtol=1e-12)
        assert np.isinf(distance[~known]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_mask_of_a_pixel_is_on_top(seed):
    masks, labels = _masks(seed, 7), torch.arange(7) % 3
    crowds = torch.tensor([False] * 6 + [True])
    panoptic = paint_masks(masks, labels, crowds).numpy()
    areas = masks.sum(dim=(1, 2)).tolist()
    for y, x in np.ndindex(*panoptic.shape):
        here = [row for row in range(7) if masks[row, y, x]]
        objects = [row for row in here if row != 6]
        if not here:
            assert panoptic[y, x] == -1
        elif not objects:
            assert panoptic[y, x] == labels[6] * 65536
        else:
            least = min(areas[row] for row in objects)
            top = max(row for row in objects if areas[row] == least)
            assert panoptic[y, x] == labels[top] * 65536 + top + 1


class TestDataset:
    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory) -> Path:
        options = ShapesOptions({"train": 6, "val": 3}, (64, 90), names=("disc", "star"), crowd_probability=0.4)
        return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)

    def test_two_classes(self, root):
        dataset = InstanceMaps("train", root).reading({"panoptic_map", "masks"})
        check_dataset(dataset)
        objects = open_split(root, "train", reads={"masks"})
        assert [one.name for one in dataset.categories] == ["background", "disc", "star"]
        for index in range(len(dataset)):
            target, given = dataset.target(index), objects.target(index)
            assert torch.equal(target.labels, given.labels + 1)
            assert torch.equal(target.label_map > 0, given.masks.any(dim=0))
            assert torch.equal(target.panoptic_map // 65536, target.label_map.int())
            for mask, label, crowd in zip(given.masks, given.labels, given.iscrowd, strict=True):
                if not crowd:
                    assert (target.label_map[mask] == label + 1).float().mean() > 0.4

    def test_a_border_between_objects(self, root):
        dataset = InstanceMaps("train", root, border=4)
        assert [(one.name, one.is_thing) for one in dataset.categories] == [
            ("background", False), ("disc", True), ("star", True), ("border", False),
        ]  # fmt: skip
        plain, seen = InstanceMaps("train", root).reading({"panoptic_map"}), 0
        for index in range(len(dataset)):
            panoptic = plain.target(index).panoptic_map.numpy()
            keys = [key for key in np.unique(panoptic) if key % 65536]
            expected = np.zeros(panoptic.shape, dtype=bool)
            if len(keys) > 1:
                distances = np.sort([ndimage.distance_transform_edt(panoptic != key) for key in keys], axis=0)
                expected = distances[0] + distances[1] <= 4
            assert np.array_equal(dataset.target(index).label_map == 3, expected)
            seen += expected.sum()
        assert seen > 10

    def test_a_border_that_is_background(self, root):
        own = InstanceMaps("train", root, border=4).reading({"panoptic_map"})
        same = InstanceMaps("train", root, border=4, border_name="background").reading({"panoptic_map"})
        assert [one.name for one in same.categories] == ["background", "disc", "star"]
        for index in range(len(own)):
            expected, found = own.target(index), same.target(index)
            is_border = expected.label_map == 3
            assert torch.equal(found.label_map, expected.label_map.masked_fill(is_border, 0))
            assert torch.equal(found.panoptic_map, expected.panoptic_map.masked_fill(is_border, 0))

    def test_weights_of_pixels(self, root):
        dataset = InstanceMaps("train", root, separation=4, class_weights=[0.5, 2, 3]).reading({"pixel_weights"})
        masks = open_split(root, "train", reads={"masks"}).target(1).masks
        target = dataset.target(1)
        own = torch.tensor([0.5, 2, 3])[target.label_map.long()]
        torch.testing.assert_close(target.pixel_weights, own + separation_weights(masks, 4))
        assert InstanceMaps("train", root).target(1).pixel_weights is None

    def test_the_ground_truth_has_all_classes(self, root):
        truth = InstanceMaps("val", root, border=1).ground_truth()
        assert [one["name"] for one in truth["categories"]] == ["background", "disc", "star", "border"]
        assert {one["category_id"] for one in truth["annotations"]} <= {1, 5}

    def test_the_background_of_the_data_is_not_added(self, tmp_path):
        maps = tmp_path / "maps"
        for folder, pixels in (("images", 90), ("masks", 255)):
            (maps / folder).mkdir(parents=True)
            image = np.full((12, 15), pixels, np.uint8)
            image[:, 7] = image[0] = 0
            cv2.imwrite(str(maps / folder / "a.png"), image)
        (maps / "classes.json").write_text(
            '{"classes": [{"name": "membrane", "value": 0, "isthing": 0}, {"name": "cell", "value": 255}]}'
        )
        root = tmp_path / "cells"
        convert(maps, to="coco", out=root, components=True)
        dataset = InstanceMaps("train", root, background="membrane")
        assert [(one.name, one.is_thing) for one in dataset.categories] == [("membrane", False), ("cell", True)]
        target = dataset.target(0)
        expected = open_split(maps, "train", reads={"label_map"}).target(0).label_map
        assert torch.equal(target.label_map, expected)
        assert target.labels.tolist() == [1, 1]
        other = InstanceMaps("train", root)
        assert [one.name for one in other.categories] == ["background", "membrane", "cell"]
        assert torch.equal(other.target(0).label_map, expected * 2)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"border": -1}, "border and separation of at least 0"),
            ({"background": "disc"}, "must not be those of classes"),
            ({"class_weights": [1.0]}, "class_weights of at least 0 for background, disc, star"),
        ],
    )
    def test_wrong_options(self, root, options, match):
        with pytest.raises(InputError, match=match):
            InstanceMaps("train", root, **options)


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs the nuclei, shared beside the repository")
def test_nuclei_by_options_alone():
    data = DataModule(dataset=lambda split: InstanceMaps(split, NUCLEI, border=2), reads=["label_map"])
    assert [one.name for one in data.categories] == ["background", "nucleus", "border"]
    images, targets = next(iter(DataModule(
        dataset=lambda split: InstanceMaps(split, NUCLEI, border=2), reads=["label_map"], num_workers=0
    ).train_dataloader()))  # fmt: skip
    assert all(target.label_map.shape == image.shape[1:] for image, target in zip(images, targets, strict=True))
    counts = sum(np.bincount(data.train_dataset.target(index).label_map.flatten(), minlength=3) for index in range(3))
    assert (counts > 0).all()


def test_options_of_the_command_line(tmp_path):
    """A config of a training with both classes, as the command line gives it."""
    root = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 2, "val": 1}, (64, 80)))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataModule, "data")
    config = parser.parse_args([
        f"--data.root={root}", "--data.dataset=detkit.data.InstanceMaps", "--data.dataset.border=2",
        "--data.augmentation=detkit.data.ScaledCrop", "--data.augmentation.size=[48,56]", "--data.num_workers=0",
        "--data.reads=[label_map]",
    ])  # fmt: skip
    data = parser.instantiate_classes(config).data
    images, targets = next(iter(data.train_dataloader()))
    assert all(image.shape == (3, 48, 56) for image in images)
    assert all(target.label_map.shape == (48, 56) for target in targets)
    assert [category.name for category in data.categories][::8] == ["background", "border"]


class TestRoot:
    """`data.root` is the root of a data set class that takes one."""

    def test_it_wins_over_that_of_the_class(self, tmp_path):
        roots = [draw_shapes(tmp_path / str(count), ShapesOptions({"train": count}, (32, 48))) for count in (2, 3)]
        data = DataModule(dataset=partial(InstanceMaps, root=roots[0]))
        assert len(data.train_dataset) == 2
        data = DataModule(dataset=partial(InstanceMaps, root=roots[0]), root=roots[1])
        assert len(data.train_dataset) == 3

    def test_a_class_without_a_root_refuses_it(self, tmp_path):
        data = DataModule(dataset=lambda split: None, root=tmp_path)
        with pytest.raises(InputError, match=r"data\.root is .*, but data\.dataset takes no root"):
            data.train_dataset  # noqa: B018

    def test_none_is_asked_for(self):
        with pytest.raises(InputError, match=r"InstanceMaps: there is no folder: give data\.root"):
            DataModule(dataset=InstanceMaps).train_dataset  # noqa: B018
