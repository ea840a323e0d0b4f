"""`detkit convert` between objects with masks, label maps and panoptic maps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from scipy import ndimage

from detkit.data import ShapesOptions, draw_shapes, format_of, open_split
from detkit.data.conversion import convert
from detkit.data.conversion.map_objects import objects_of_maps
from detkit.data.instance_maps import paint_masks
from detkit.errors import InputError

COUNTS = {"train": 5, "val": 2}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    options = ShapesOptions(COUNTS, (64, 80), names=("disc", "box", "star"), crowd_probability=0.4)
    return draw_shapes(tmp_path_factory.mktemp("data") / "plain", options)


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory) -> Path:
    """A folder of panoptic files alone."""
    options = ShapesOptions(COUNTS, (64, 80), stuff=("grass", "sky"), crowd_probability=0.4)
    root = draw_shapes(tmp_path_factory.mktemp("data") / "panoptic", options)
    for split in COUNTS:
        (root / "annotations" / f"instances_{split}.json").unlink()
    return root


def test_masks_become_label_maps(plain, tmp_path):
    done = convert(plain, tmp_path / "maps", "maps")
    assert format_of(tmp_path / "maps") == "maps"
    assert done.images == COUNTS
    for split in COUNTS:
        given = open_split(plain, split, reads={"masks"})
        written = open_split(tmp_path / "maps", split, reads={"label_map"})
        assert [one.name for one in written.categories] == ["background", "disc", "box", "star"]
        for index in range(len(given)):
            target, label_map = given.target(index), written.target(index).label_map
            painted = paint_masks(target.masks, target.labels, target.iscrowd)
            assert torch.equal(label_map.int(), torch.where(painted < 0, 0, painted // 65536 + 1).int())
            assert np.array_equal(given.read_image(index), written.read_image(index))


def test_masks_become_panoptic_maps_with_void(plain, tmp_path):
    convert(plain, tmp_path / "out", "coco_panoptic")
    assert format_of(tmp_path / "out") == "coco_panoptic"
    given = open_split(plain, "train", reads={"masks"})
    written = open_split(tmp_path / "out", "train", reads={"masks", "panoptic_map"})
    assert written.categories == given.categories
    for index in range(len(given)):
        target, other = given.target(index), written.target(index)
        painted = paint_masks(target.masks, target.labels, target.iscrowd)
        assert torch.equal(other.panoptic_map < 0, painted < 0)
        assert torch.equal(other.panoptic_map // 65536, painted // 65536)
        for mask, crowd in zip(other.masks, other.iscrowd, strict=True):
            (value,) = painted[mask].unique().tolist()
            assert torch.equal(mask, painted == value)
            assert crowd == (value % 65536 == 0)


def test_panoptic_maps_become_objects(panoptic, tmp_path):
    done = convert(panoptic, tmp_path / "coco", "coco")
    assert "classes of stuff are left out" in done.losses
    content = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    given = open_split(panoptic, "train", reads={"masks"})
    expected = [mask for index in range(len(given)) for mask in sorted_masks(given.target(index))]
    assert len(content["annotations"]) == len(expected)
    for entry, (label, mask) in zip(content["annotations"], expected, strict=True):
        assert entry["category_id"] == given.categories[label].id
        decoded = rle.decode(entry["segmentation"]).astype(bool)
        assert np.array_equal(decoded, mask)
        assert entry["area"] == mask.sum()


def sorted_masks(target):
    """By label, crowds first."""
    rows = range(len(target.labels))
    order = sorted(rows, key=lambda row: (int(target.labels[row]), not target.iscrowd[row], row))
    return [(int(target.labels[row]), target.masks[row].numpy()) for row in order]


def test_there_and_back(panoptic, tmp_path):
    """Panoptic to objects to panoptic: the things stay, stuff becomes void."""
    convert(panoptic, tmp_path / "coco", "coco")
    convert(tmp_path / "coco", tmp_path / "back", "coco_panoptic")
    given = open_split(panoptic, "train", reads={"panoptic_map"})
    back = open_split(tmp_path / "back", "train", reads={"panoptic_map"})
    for index in range(len(given)):
        before, after = given.target(index).panoptic_map, back.target(index).panoptic_map
        is_thing = before // 65536 < 7
        assert torch.equal(after >= 0, is_thing)
        assert torch.equal((after // 65536)[is_thing], (before // 65536)[is_thing])


class TestLabelMaps:
    @pytest.fixture
    def root(self, panoptic, tmp_path):
        convert(panoptic, tmp_path / "maps", "maps")
        return tmp_path / "maps"

    def test_panoptic_maps_become_label_maps(self, panoptic, root):
        given = open_split(panoptic, "train", reads={"label_map"})
        written = open_split(root, "train", reads={"label_map"})
        assert [(one.name, one.is_thing) for one in written.categories] == [
            (one.name, one.is_thing) for one in given.categories
        ]
        for index in range(len(given)):
            assert torch.equal(given.target(index).label_map, written.target(index).label_map)

    def test_objects_are_components_only_on_request(self, root, tmp_path):
        with pytest.raises(InputError, match="do not tell the objects of a class apart; with --components each"):
            convert(root, tmp_path / "coco", "coco")
        assert not (tmp_path / "coco").exists()
        done = convert(root, tmp_path / "coco", "coco", components=True)
        assert any("those that touch have become one" in loss for loss in done.losses)
        content = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
        maps = open_split(root, "train", reads={"label_map"})
        count = 0
        for index in range(len(maps)):
            labels = maps.target(index).label_map.numpy()
            for label in range(7):
                count += ndimage.label(labels == label, np.ones((3, 3)))[1]
        assert len(content["annotations"]) == count

    def test_they_tell_no_instances_apart(self, root, tmp_path):
        with pytest.raises(InputError, match="do not tell instances apart, as coco_panoptic does"):
            convert(root, tmp_path / "out", "coco_panoptic")
        with pytest.raises(InputError, match="is in the format maps already"):
            convert(root, tmp_path / "out", "maps")


def test_overlaps_are_told(plain, tmp_path):
    content = json.loads((plain / "annotations/instances_train.json").read_text())
    first = content["annotations"][0]
    again = {**first, "id": 10_000, "category_id": content["categories"][-1]["id"], "iscrowd": 0}
    content["annotations"].append(again)
    (tmp_path / "in/annotations").mkdir(parents=True)
    (tmp_path / "in/images").symlink_to(plain / "images")
    (tmp_path / "in/annotations/instances_train.json").write_text(json.dumps(content))
    done = convert(tmp_path / "in", tmp_path / "out", "maps")
    assert any("a pixel belongs to the one with the smallest mask" in loss for loss in done.losses)


def test_boxes_alone_are_no_maps(plain, tmp_path):
    convert(plain, tmp_path / "voc", "voc")
    with pytest.raises(InputError, match="has boxes and no masks; its segmentations are converted with --from voc_seg"):
        convert(tmp_path / "voc", tmp_path / "maps", "maps")


def test_an_existing_folder_is_replaced_on_request(plain, tmp_path):
    convert(plain, tmp_path / "maps", "maps")
    with pytest.raises(InputError, match="exists; name another folder"):
        convert(plain, tmp_path / "maps", "maps")
    convert(plain, tmp_path / "maps", "maps", splits=["val"], overwrite=True)
    assert not (tmp_path / "maps/masks/train").exists()
    assert all(Image.open(path).mode == "L" for path in (tmp_path / "maps/masks/val").iterdir())


def test_more_components_than_instances_of_a_class_keep_their_class(tmp_path):
    """A panoptic map has 65,536 values for each class."""
    labels = np.zeros((514, 514), np.uint8)
    labels[::2, ::2] = 1
    for folder in ("images", "masks"):
        (tmp_path / folder / "train").mkdir(parents=True)
        Image.fromarray(labels).save(tmp_path / folder / "train" / "a.png")
    (tmp_path / "classes.txt").write_text("background\ndot\ndash\n")
    objects = objects_of_maps(open_split(tmp_path, "train"), components=True)["annotations"]
    assert len(objects) == 257**2
    assert {(one["category_id"], one["iscrowd"], one["area"]) for one in objects} == {(1, 0, 1)}
