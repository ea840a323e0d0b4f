"""Label maps and panoptic maps of the Shapes, read by other programs and by the COCO reader."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from detkit.data import CocoDataset, DataModule, Loader, ShapesOptions, draw_shapes, find_split
from detkit.data.faults.class_faults import class_problems
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.layouts.contents import warnings_about_data
from detkit.data.shapes import folder_name
from detkit.data.shapes.backgrounds import stuff_color
from detkit.errors import InputError

STUFF = ("grass", "water", "sky")
OPTIONS = {"counts": {"train": 12}, "image_size": (64, 90), "crowd_probability": 0.4}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", ShapesOptions(**OPTIONS, stuff=STUFF))


@pytest.fixture(scope="module")
def content(drawn) -> dict:
    return json.loads((drawn / "annotations" / "panoptic_train.json").read_text())


@pytest.fixture(scope="module")
def instances(drawn) -> dict:
    return json.loads((drawn / "annotations" / "instances_train.json").read_text())


def _ids(path: Path) -> np.ndarray:
    """As panopticapi's rgb2id."""
    colors = np.array(Image.open(path)).astype(np.uint32)
    return colors[:, :, 0] + 256 * colors[:, :, 1] + 256 * 256 * colors[:, :, 2]


def test_stuff_classes_follow_the_shapes(content, instances):
    assert content["categories"] == instances["categories"]
    stuff = [one for one in content["categories"] if not one["isthing"]]
    assert [(one["id"], one["name"]) for one in stuff] == [(8, "grass"), (9, "water"), (10, "sky")]
    assert stuff[1]["color"] == list(stuff_color(1))


def test_every_pixel_belongs_to_a_segment_with_its_area_and_box(drawn, content):
    for annotation in content["annotations"]:
        ids = _ids(drawn / "annotations" / "panoptic_train" / annotation["file_name"])
        assert set(np.unique(ids)) == {one["id"] for one in annotation["segments_info"]}
        for one in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == one["id"])
            assert one["area"] == len(rows)
            x, y = columns.min(), rows.min()
            assert one["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]


def test_masks_and_both_maps_are_the_same_pixels(drawn, content, instances):
    """Masks by pycocotools; label maps hold the category of each segment."""
    for annotation in content["annotations"]:
        ids = _ids(drawn / "annotations" / "panoptic_train" / annotation["file_name"])
        expected = np.zeros(ids.shape, np.uint8)
        for one in annotation["segments_info"]:
            expected[ids == one["id"]] = one["category_id"]
        label_map = np.array(Image.open(drawn / "labels" / "train" / annotation["file_name"]))
        assert np.array_equal(label_map, expected)
        own = [one for one in instances["annotations"] if one["image_id"] == annotation["image_id"]]
        things = [one for one in annotation["segments_info"] if one["category_id"] < 8]
        assert [one["iscrowd"] for one in own] == [one["iscrowd"] for one in things]
        for entry, segment in zip(own, things, strict=True):
            assert np.array_equal(rle.decode(entry["segmentation"]).astype(bool), ids == segment["id"])


def test_the_coco_reader_gives_both(drawn):
    dataset = CocoDataset(*find_split(drawn, "train"), reads={"masks", "label_map", "panoptic_map"})
    assert [category.is_thing for category in dataset.categories] == [True] * 7 + [False] * 3
    for index in range(len(dataset)):
        target = dataset.target(index)
        assert target.panoptic_map.dtype == torch.int32
        assert torch.equal(target.panoptic_map // 65536, target.label_map.int())
        instance = 0
        for mask, label, crowd in zip(target.masks, target.labels, target.iscrowd, strict=True):
            instance += 0 if crowd else 1
            assert torch.equal(target.panoptic_map == label * 65536 + (0 if crowd else instance), mask)
        stuff = target.label_map >= 7
        assert not (target.panoptic_map[stuff] % 65536).any()


def test_maps_survive_the_loader_and_selection(drawn):
    dataset = CocoDataset(*find_split(drawn, "train"), reads={"label_map", "panoptic_map"})
    read = [target for _, batch in Loader(dataset, 1, batch_size=5) for target in batch]
    for index, target in enumerate(read):
        assert torch.equal(target.panoptic_map, dataset.target(index).panoptic_map)
    packed = dataset.packed_annotations.select_images(np.array([7, 2]))
    for row, index in enumerate((7, 2)):
        fields = packed.fields(row, {"panoptic_map"}, "x")
        assert torch.equal(fields["panoptic_map"], dataset.target(index).panoptic_map)


def test_one_stuff_class_is_the_background_of_the_same_images(tmp_path):
    plain = draw_shapes(tmp_path / "plain", ShapesOptions(**OPTIONS))
    one = draw_shapes(tmp_path / "one", ShapesOptions(**OPTIONS, stuff=("background",)))
    for path in (plain / "images" / "train").iterdir():
        assert path.read_bytes() == (one / "images" / "train" / path.name).read_bytes()
    maps = [np.array(Image.open(path)) for path in (one / "labels" / "train").iterdir()]
    assert {8} < set(np.unique(np.concatenate([one.ravel() for one in maps]))) <= set(range(1, 9))
    assert not (plain / "labels").exists()


def test_stuff_without_objects_is_no_fault(drawn, tmp_path):
    val = draw_shapes(tmp_path / "val", ShapesOptions({"val": 20}, (64, 90), max_objects=8, stuff=STUFF))
    train = WrittenSplit.of(CocoDataset(*find_split(val, "val")))
    assert train.stuff == set(STUFF)
    assert "empty_classes" not in {problem.name for problem in class_problems([train])}
    data = DataModule(drawn, val_images=val / "images/val", val_annotations=val / "annotations/instances_val.json")
    assert not any("grass" in line for line in warnings_about_data(data))


def test_folders_without_stuff_keep_their_name():
    assert folder_name(ShapesOptions(seed=9, counts={"train": 10})) == "shapes-2cd9a362c7af"


@pytest.mark.parametrize("stuff", [("disc",), ("a", "a"), (" ",), tuple(map(str, range(101)))])
def test_names_that_cannot_be_told_apart_are_refused(stuff):
    with pytest.raises(InputError, match=r"shapes\.stuff must be up to 100 different names"):
        ShapesOptions(stuff=stuff)


class TestWrongFiles:
    @pytest.fixture
    def folder(self, drawn, tmp_path):
        (tmp_path / "annotations").mkdir()
        for path in (drawn / "annotations").glob("*.json"):
            (tmp_path / "annotations" / path.name).write_text(path.read_text())
        (tmp_path / "images").symlink_to(drawn / "images")
        (tmp_path / "annotations" / "panoptic_train").symlink_to(drawn / "annotations" / "panoptic_train")
        return tmp_path

    def _change(self, folder, change):
        path = folder / "annotations" / "panoptic_train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def _read(self, folder):
        return CocoDataset(*find_split(folder, "train"), reads={"panoptic_map"})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=77), "category 77, which is not"),
            (lambda c: c["annotations"][0]["segments_info"][0].update(id=0), "a segment with the id 0; ids are whole"),
            (lambda c: c["annotations"][0].pop("segments_info"), "none of panoptic maps"),
            (lambda c: c["annotations"][1].pop("segments_info"), "has no list 'segments_info'"),
            (lambda c: c["annotations"].append(c["annotations"][0]), "image 1 has two annotations"),
            (lambda c: c["annotations"][0].pop("file_name"), "needs an image_id and the file_name of its PNG"),
            (lambda c: c["categories"][0].update(name="sun"), "has no category 'sun' with the id 1"),
        ],
    )
    def test_entries(self, folder, change, message):
        self._change(folder, change)
        with pytest.raises(InputError, match=message):
            self._read(folder)

    def test_a_color_without_a_segment_is_named(self, folder):
        self._change(folder, lambda content: content["annotations"][0]["segments_info"].pop())
        with pytest.raises(InputError, match=r"image 1 has pixels of the segment \d+, the color \(\d+, 0, 0\)"):
            self._read(folder).target(0)

    def test_a_missing_file_says_where_it_belongs(self, folder):
        (folder / "annotations" / "panoptic_train.json").unlink()
        with pytest.raises(InputError, match=r"put their JSON file at .*panoptic_train\.json"):
            self._read(folder)

    def test_another_size(self, folder):
        path = folder / "annotations" / "panoptic_train"
        files = list(path.iterdir())
        path.unlink()
        path.mkdir()
        for file in files:
            (path / file.name).write_bytes(b"")
        Image.new("RGB", (5, 4)).save(path / "000000.png")
        with pytest.raises(InputError, match=r"this panoptic map is \(4, 5\) \(height, width\), but image 1 has"):
            self._read(folder).target(0)

    def test_alpha_is_read_where_it_is_opaque(self, folder):
        path = folder / "annotations" / "panoptic_train"
        expected = self._read(folder).target(0).panoptic_map
        content = {file.name: file.read_bytes() for file in path.iterdir()}
        path.unlink()
        path.mkdir()
        for name, data in content.items():
            (path / name).write_bytes(data)
        image = Image.open(path / "000000.png").convert("RGBA")
        image.save(path / "000000.png")
        assert torch.equal(self._read(folder).target(0).panoptic_map, expected)
        image.putpixel((1, 1), (0, 0, 0, 0))
        image.save(path / "000000.png")
        with pytest.raises(InputError, match=r"000000\.png: the panoptic map of image 1 has 1 transparent pixels"):
            self._read(folder).target(0)
