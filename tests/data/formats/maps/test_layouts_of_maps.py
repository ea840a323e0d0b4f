"""The layouts of published data sets of maps, written as their authors do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from written_maps import SIZE, blocks, write_image, write_map

from detkit.data import ShapesOptions, draw_shapes, format_of, open_split
from detkit.data.formats.maps.known_classes import ADE20K, CITYSCAPES, COCO_STUFF, VOC
from detkit.data.formats.open_dataset import has_split_of
from detkit.errors import InputError
from detkit.structures.categories import voc_color
from detkit.testing import check_dataset

PALETTE = [channel for value in range(256) for channel in voc_color(value)]


def _only(root: Path, split: str = "train", reads=("label_map",), **options):
    dataset = open_split(root, split, reads=set(reads), **options)
    check_dataset(dataset)
    return dataset


class TestVoc:
    @pytest.fixture
    def root(self, tmp_path):
        folder = tmp_path / "VOC2012"
        for number, stem in enumerate(("2007_1", "2007_2", "2008_3")):
            write_image(folder / f"JPEGImages/{stem}.jpg", seed=number)
            if number < 2:
                classes = blocks([0, 1, 15, 255], number)
                objects = np.where(classes == 255, 255, (classes > 0) * (1 + (np.arange(SIZE[1]) > 14)))
                write_map(folder / f"SegmentationClass/{stem}.png", classes, PALETTE)
                write_map(folder / f"SegmentationObject/{stem}.png", objects.astype(np.uint8), PALETTE)
        (folder / "ImageSets/Segmentation").mkdir(parents=True)
        (folder / "ImageSets/Segmentation/train.txt").write_text("2007_1\n2007_2\n")
        return folder

    def test_classes_and_objects(self, root):
        assert format_of(root) == format_of(root.parent) == "voc_segmentation"
        dataset = _only(root, reads=("label_map", "panoptic_map"))
        assert dataset.image_ids == ["2007_1", "2007_2"]
        assert [one.name for one in dataset.categories] == list(VOC)
        assert [one.is_thing for one in dataset.categories] == [False] + [True] * 20
        for index, stem in enumerate(dataset.image_ids):
            classes = np.array(Image.open(root / f"SegmentationClass/{stem}.png"))
            objects = np.array(Image.open(root / f"SegmentationObject/{stem}.png"))
            target = dataset.target(index)
            assert np.array_equal(target.label_map, classes)
            expected = np.where(classes == 255, -1, classes.astype(int) * 65536 + objects * (classes > 0))
            assert np.array_equal(target.panoptic_map, expected)

    def test_the_palette(self):
        """The colors of VOC's development kit."""
        assert [voc_color(value) for value in (1, 2, 3, 8, 20, 255)] == [
            (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (0, 64, 128), (224, 224, 192),
        ]  # fmt: skip

    def test_a_map_in_color_is_read_by_the_palette(self, root):
        path = root / "SegmentationClass/2007_1.png"
        before = _only(root).target(0).label_map
        Image.open(path).convert("RGB").save(path)
        assert torch.equal(_only(root).target(0).label_map, before)

    def test_an_image_without_a_map(self, root):
        (root / "ImageSets/Segmentation/train.txt").write_text("2007_1\n2008_3\n")
        with pytest.raises(InputError, match=r"train\.txt:2: there is no map .*2008_3\.png"):
            open_split(root, "train")

    def test_no_such_image_set(self, root):
        with pytest.raises(InputError, match=r"there is no ImageSets/Segmentation/val\.txt"):
            open_split(root, "val")

    def test_a_folder_with_boxes_gives_label_maps_on_demand(self, root):
        names = ["aeroplane", "person", "unused"]
        for stem in ("2007_1", "2008_3"):
            (root / "Annotations").mkdir(exist_ok=True)
            size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>"
            box = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
            text = f"<annotation>{size}<object><name>person</name>{box}</object></annotation>"
            (root / f"Annotations/{stem}.xml").write_text(text)
        (root / "ImageSets/Main").mkdir()
        (root / "ImageSets/Main/train.txt").write_text("2007_1\n2008_3\n")
        (root / "classes.txt").write_text("\n".join(names))
        assert format_of(root) == "voc"
        dataset = open_split(root, "train", reads={"label_map"})
        check_dataset(dataset)
        values = np.array(Image.open(root / "SegmentationClass/2007_1.png"))
        expected = np.select([values == 1, values == 15], [0, 1], 255)
        assert np.array_equal(dataset.target(0).label_map, expected)
        assert dataset.target(0).labels.tolist() == [1]
        assert dataset.target(1).label_map is None
        (root / "classes.txt").write_text("\n".join([*names, "background"]))
        label_map = open_split(root, "train", reads={"label_map"}).target(0).label_map
        assert np.array_equal(label_map, np.where(values == 0, 3, expected))
        assert len(open_split(root, "train", "voc_segmentation")) == 2

    def test_trainaug(self, root):
        write_map(root / "SegmentationClassAug/2008_3.png", blocks([0, 5], 9))
        (root / "ImageSets/Segmentation/trainaug.txt").write_text("2007_1\n2008_3\n")
        dataset = _only(root, "trainaug", ("label_map", "panoptic_map"))
        assert np.array_equal(dataset.target(1).label_map, blocks([0, 5], 9))
        assert dataset.target(1).panoptic_map is None


class TestCityscapes:
    @pytest.fixture
    def root(self, tmp_path):
        for number in range(3):
            stem = f"ulm/ulm_00000{number}_000019"
            write_image(tmp_path / f"leftImg8bit/train/{stem}_leftImg8bit.png", seed=number)
            keys = blocks([0, 3, 7, 24, 26, 29, 33], number)
            instances = np.where((keys >= 24) & (np.arange(SIZE[1]) < 20), keys.astype(int) * 1000 + 2, keys)
            write_map(tmp_path / f"gtFine/train/{stem}_gtFine_labelIds.png", keys)
            write_map(tmp_path / f"gtFine/train/{stem}_gtFine_instanceIds.png", instances.astype(np.uint16))
            write_map(tmp_path / f"gtFine/train/{stem}_gtFine_color.png", keys)
            (tmp_path / f"gtFine/train/{stem}_gtFine_polygons.json").write_text('{"imgHeight": 20, "objects": []}')
        return tmp_path

    def test_label_ids_become_the_19_classes(self, root):
        assert format_of(root) == "cityscapes"
        dataset = _only(root, reads=("label_map", "panoptic_map"))
        assert dataset.image_ids[0] == "ulm/ulm_000000_000019"
        assert [one.name for one in dataset.categories][:3] == ["road", "sidewalk", "building"]
        assert len(dataset.categories) == 19
        train_ids = {7: 0, 24: 11, 26: 13, 33: 18}  # of cityscapesScripts' labels.py
        keys = blocks([0, 3, 7, 24, 26, 29, 33], 1)
        expected = np.full(SIZE, 255)
        for key, label in train_ids.items():
            expected[keys == key] = label
        target = dataset.target(1)
        assert np.array_equal(target.label_map, expected)
        things = expected * 65536 + np.where((keys >= 24) & (np.arange(SIZE[1]) < 20), 3, 0)
        assert np.array_equal(target.panoptic_map, np.where(expected == 255, -1, things))

    def test_train_ids(self, root):
        for path in root.rglob("*_labelIds.png"):
            keys = np.array(Image.open(path))
            train = np.full(SIZE, 255, np.uint8)
            for label, key in enumerate(CITYSCAPES):
                train[keys == key] = label
            write_map(path.with_name(path.name.replace("labelIds", "labelTrainIds")), train)
        expected = [_only(root).target(index).label_map for index in range(3)]
        for path in root.rglob("*_labelIds.png"):
            path.unlink()
        for index in range(3):
            assert torch.equal(_only(root).target(index).label_map, expected[index])

    def test_missing_files(self, root):
        next(root.rglob("*0_000019_gtFine_labelIds.png")).unlink()
        with pytest.raises(InputError, match=r"1 of 3 images have no map in .*gtFine/train"):
            open_split(root, "train")
        with pytest.raises(InputError, match=r"no split val, which has leftImg8bit/val/ and gtFine/val/"):
            open_split(root, "val")


class TestCamVid:
    def test_segnets_layout(self, tmp_path):
        for split in ("train", "val", "test"):
            write_image(tmp_path / f"{split}/0001TP_{split}.png")
            write_map(tmp_path / f"{split}annot/0001TP_{split}.png", blocks([0, 5, 10, 11], 4))
        assert format_of(tmp_path) == "camvid"
        assert all(has_split_of(tmp_path, split) for split in ("train", "val", "test"))
        dataset = _only(tmp_path, "test")
        assert [one.name for one in dataset.categories][::5] == ["sky", "tree", "bicyclist"]
        values = blocks([0, 5, 10, 11], 4)
        assert np.array_equal(dataset.target(0).label_map, np.where(values == 11, 255, values))


class TestAde20k:
    def test_scene_parsing(self, tmp_path):
        for split in ("training", "validation"):
            write_image(tmp_path / f"images/{split}/ADE_1.jpg")
            write_map(tmp_path / f"annotations/{split}/ADE_1.png", blocks([0, 1, 77, 150], 4))
        (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n")
        assert format_of(tmp_path) == "ade20k"
        dataset = _only(tmp_path, "val")
        values = blocks([0, 1, 77, 150], 4).astype(int)
        assert np.array_equal(dataset.target(0).label_map, np.where(values == 0, 255, values - 1))
        assert (dataset.categories[0].name, dataset.categories[149].name, len(ADE20K)) == ("wall", "flag", 150)


class TestCocoStuff:
    @pytest.mark.parametrize("images", ["images/train2017", "train2017"])
    @pytest.mark.parametrize("train_ids", [False, True])
    def test_pixel_maps(self, tmp_path, images, train_ids):
        known = [key for key in range(1, 183) if key not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}]
        write_image(tmp_path / images / "000000000009.jpg")
        values = blocks([0, 10, 12, 91, 181, 255], 4)  # ids minus 1
        maps = tmp_path / "stuffthingmaps/train2017"
        write_map(maps / "000000000009.png", values)
        expected = np.full(SIZE, 255)
        for label, key in enumerate(known):
            expected[values == key - 1] = label
        if train_ids:
            write_map(maps / "000000000009_labelTrainIds.png", expected.astype(np.uint8))
        assert format_of(tmp_path) == "coco_stuff"
        dataset = _only(tmp_path)
        assert len(dataset.categories) == 171
        assert np.array_equal(dataset.target(0).label_map, expected)
        assert [one.name for one in dataset.categories] == [COCO_STUFF[key - 1] for key in known]
        assert sum(one.is_thing for one in dataset.categories) == 80


class TestCocoPanoptic:
    @pytest.fixture(scope="class")
    @classmethod
    def shapes(cls, tmp_path_factory):
        options = ShapesOptions({"train": 6, "val": 2}, (64, 80), stuff=("grass", "sky"), crowd_probability=0.5)
        return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)

    @pytest.fixture
    def root(self, shapes, tmp_path):
        """The panoptic files of Shapes alone."""
        (tmp_path / "annotations").mkdir()
        for path in (shapes / "annotations").glob("panoptic_*"):
            (tmp_path / "annotations" / path.name.replace("val", "val2017")).symlink_to(path)
        (tmp_path / "images").symlink_to(shapes / "images")
        return tmp_path

    def test_all_fields_are_those_of_the_instances(self, shapes, root):
        assert format_of(shapes) == "coco"
        assert format_of(root) == "coco_panoptic"
        reads = {"masks", "label_map", "panoptic_map"}
        expected = open_split(shapes, "train", reads=reads)
        dataset = open_split(root, "train", reads=reads)
        check_dataset(dataset)
        assert dataset.categories == [one for one in expected.categories]
        for index in range(len(dataset)):
            target, other = dataset.target(index), expected.target(index)
            for name in ("boxes", "labels", "iscrowd", "area", "masks", "label_map", "panoptic_map"):
                assert torch.equal(getattr(target, name), getattr(other, name)), name
        assert has_split_of(root, "val")
        assert not has_split_of(root, "test")
        assert len(open_split(root, "val")) == 2

    def test_ground_truth_has_the_masks(self, root, shapes):
        from pycocotools import mask as rle

        dataset = open_split(root, "train", reads={"masks"})
        content = json.loads((shapes / "annotations/instances_train.json").read_text())
        truth = dataset.ground_truth()["annotations"]
        assert len(truth) == len(content["annotations"])
        for one, other in zip(truth, content["annotations"], strict=True):
            assert one["bbox"] == other["bbox"]
            assert np.array_equal(rle.decode(one["segmentation"]), rle.decode(other["segmentation"]))
        assert "segmentation" not in open_split(root, "train").ground_truth()["annotations"][0]

    def test_selected_images_keep_their_masks(self, root):
        dataset = open_split(root, "train", reads={"masks", "label_map"})
        packed = dataset.packed_annotations.select_images(np.array([4, 1]))
        for row, index in enumerate((4, 1)):
            fields, target = packed.fields(row, {"masks", "label_map"}, "x"), dataset.target(index)
            assert torch.equal(fields["masks"], target.masks)
            assert torch.equal(fields["label_map"], target.label_map)

    def test_missing_pngs_are_named(self, root):
        (root / "annotations/panoptic_train").unlink()
        with pytest.raises(InputError, match=r"6 of its 6 PNGs are not there \(first: .*; unpack them"):
            open_split(root, "train")

    def test_no_such_split(self, root):
        with pytest.raises(InputError, match="there is no panoptic file of the split test"):
            open_split(root, "test")


def test_todays_formats_stay(tmp_path):
    """A COCO folder with label maps, a YOLO folder and one of classes are no folders of maps."""
    shapes = draw_shapes(tmp_path / "shapes", ShapesOptions({"val": 1}, (64, 64), stuff=("background",)))
    assert format_of(shapes) == "coco"
    write_image(tmp_path / "yolo/images/train/a.jpg")
    (tmp_path / "yolo/labels/train").mkdir(parents=True)
    (tmp_path / "yolo/labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo/classes.txt").write_text("a\n")
    assert format_of(tmp_path / "yolo") == "yolo"
    for name in ("cat", "dog"):
        write_image(tmp_path / f"classes/train/{name}/a.jpg")
    assert format_of(tmp_path / "classes") == "folders"
