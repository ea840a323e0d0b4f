"""Any folder of images and label maps: values, palettes, colors, and what is wrong with them."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from written_maps import SIZE, blocks, write_image, write_map

from detkit.data import DataModule, Loader, MapFolderDataset, format_of, open_split
from detkit.errors import InputError
from detkit.testing import check_dataset

COLORS = [(0, 0, 0), (200, 10, 10), (0, 90, 255)]
NAMES = "road\ncar\nsky\n"
COLORED = "road 0 0 0\ncar 200,10,10\nsky: 0, 90, 255\n"


def _folder(root: Path, save, classes: str = NAMES, count: int = 3, values=(0, 1, 2, 255)) -> list[np.ndarray]:
    maps = [blocks(list(values), number) for number in range(count)]
    for number, values in enumerate(maps):
        write_image(root / f"images/train/{number}.jpg", seed=number)
        save(root / f"masks/train/{number}.png", values)
    (root / "classes.txt").write_text(classes)
    return maps


def _read(root: Path, **options) -> list[np.ndarray]:
    dataset = open_split(root, "train", reads={"label_map"}, **options)
    assert isinstance(dataset, MapFolderDataset)
    return [dataset.target(index).label_map.numpy() for index in range(len(dataset))]


def _indexed(path, values):
    write_map(path, values, [channel for number in range(256) for channel in ((number * 37) % 256, 5, 9)])


def _wide(path, values):
    write_map(path, np.where(values == 255, 255, values).astype(np.uint16))


def _in_color(path, values):
    table = np.zeros((256, 3), np.uint8)
    table[: len(COLORS)] = COLORS
    write_map(path, table[values])


def _indexed_colors(path, values):
    """Indices in another order than the classes, as programs choose them."""
    order = np.array([2, 0, 1])
    palette = np.zeros((256, 3), np.uint8)
    palette[order] = COLORS
    write_map(path, order[values].astype(np.uint8), palette.ravel().tolist())


def _gray_as_rgb(path, values):
    write_map(path, values[..., None].repeat(3, 2))


def _interlaced(path, values):
    """An indexed PNG with Adam7, written by hand: Pillow writes none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    raw = b""
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = values[y::dy, x::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 1)
    palette = bytes(channel for number in range(256) for channel in (number, 255 - number, 7))
    data = [chunk(b"IHDR", header), chunk(b"PLTE", palette), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))


@pytest.mark.parametrize("save", [write_map, _indexed, _wide, _gray_as_rgb, _interlaced])
def test_values(tmp_path, save):
    maps = _folder(tmp_path, save)
    assert format_of(tmp_path) == "maps"
    for read, values in zip(_read(tmp_path), maps, strict=True):
        assert read.dtype == np.uint8
        assert np.array_equal(read, values)


@pytest.mark.parametrize("save", [_in_color, _indexed_colors])
def test_colors(tmp_path, save):
    maps = _folder(tmp_path, save, COLORED, values=(0, 1, 2))
    for read, values in zip(_read(tmp_path), maps, strict=True):
        assert np.array_equal(read, values)
    assert [one.color for one in open_split(tmp_path, "train").categories] == COLORS


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(tmp_path, bits):
    """Gray of fewer than 8 bits keeps its numbers; Pillow spreads them over 0..255."""
    values = blocks([0, 1], 3)
    write_image(tmp_path / "images/a.png")
    path = tmp_path / "labels/a.png"
    write_map(path, values)
    width = SIZE[1]
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in values]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, SIZE[0], bits, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert np.array_equal(_read(tmp_path)[0], values)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,0,0,0\ncar,200,10,10\nsky,0,90,255\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:0,0,0::\ncar:200,10,10::\nsky:0,90,255::\n"),
        ("label_colors.txt", "0 0 0\troad\n200 10 10\tcar\n0 90 255\tsky\n"),
        ("labels.txt", COLORED),
        ("classes.json", json.dumps([{"name": n, "color": c} for n, c in zip(NAMES.split(), COLORS, strict=True)])),
    ],
)
def test_files_of_classes(tmp_path, name, text):
    maps = _folder(tmp_path, _in_color, values=(0, 1, 2))
    (tmp_path / "classes.txt").unlink()
    (tmp_path / name).write_text(text)
    assert [one.name for one in open_split(tmp_path, "train").categories] == ["road", "car", "sky"]
    assert np.array_equal(_read(tmp_path)[1], maps[1])


def test_json_with_values_and_ignored_ones(tmp_path):
    maps = _folder(tmp_path, write_map, values=(7, 9, 255, 100))
    (tmp_path / "classes.txt").unlink()
    classes = [{"name": "sky", "value": 255, "isthing": 0}, {"name": "car", "value": 9}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes, "ignore": [7, 100]}))
    dataset = open_split(tmp_path, "train", reads={"label_map"})
    assert [(one.id, one.name, one.is_thing) for one in dataset.categories] == [(9, "car", True), (255, "sky", False)]
    expected = np.select([maps[0] == 9, maps[0] == 255], [0, 1], 255)
    assert np.array_equal(dataset.target(0).label_map.numpy(), expected)


def test_reduced_zero_label(tmp_path):
    maps = _folder(tmp_path, write_map, values=(0, 1, 2, 3, 255))
    dataset = MapFolderDataset("train", tmp_path, reduce_zero_label=True)
    for index, values in enumerate(maps):
        expected = np.where((values == 0) | (values == 255), 255, values.astype(int) - 1)
        assert np.array_equal(dataset.target(index).label_map.numpy(), expected)


def test_names_on_the_command_line(tmp_path):
    maps = _folder(tmp_path, write_map)
    (tmp_path / "classes.txt").unlink()
    assert np.array_equal(_read(tmp_path, class_names=["a", "b", "c"])[0], maps[0])
    with pytest.raises(InputError, match=r"write .*classes\.txt with a class a line.* or give --data\.class_names"):
        open_split(tmp_path, "train")


def test_more_than_254_classes(tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(SIZE) % 300
    write_image(tmp_path / "images/a.png")
    write_map(tmp_path / "masks/a.png", values)
    names = [f"class {number}" for number in range(300)]
    label_map = MapFolderDataset("train", tmp_path, names).target(0).label_map
    assert label_map.dtype == torch.int16
    assert np.array_equal(label_map.numpy(), values)


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        ("images/train/a/x.png", "labels/train/a/x.png"),
        ("train/images/x.png", "train/masks/x.png"),
        ("JPEGImages/training/x.png", "annotations/training/x.png"),
        ("images/x.png", "mask/x_mask.png"),
        ("imgs/train/x.png", "label/train/x_L.png"),
    ],
)
def test_layouts(tmp_path, images, maps):
    values = blocks([0, 1, 2])
    write_image(tmp_path / images)
    write_map(tmp_path / maps, values)
    (tmp_path / "labels.txt").write_text(NAMES)
    assert format_of(tmp_path) == "maps"
    assert np.array_equal(_read(tmp_path)[0], values)


def test_the_data_set_holds_to_the_interface(tmp_path):
    _folder(tmp_path, write_map, count=6)
    dataset = open_split(tmp_path, "train", reads={"label_map"})
    check_dataset(dataset)
    assert dataset.image_sizes.tolist() == [list(SIZE)] * 6
    assert dataset.target(0).boxes is None
    assert dataset.packed_annotations.columns["label_map"].paths[0].endswith("masks/train/0.png")
    read = [target for _, batch in Loader(dataset, 1, batch_size=4) for target in batch]
    assert all(torch.equal(one.label_map, dataset.target(i).label_map) for i, one in enumerate(read))


def test_a_part_is_held_out_where_there_is_no_validation(tmp_path):
    _folder(tmp_path, write_map, count=10)
    data = DataModule(tmp_path, val_fraction=0.3, reads=["label_map"])
    assert len(data.train_dataset) + len(data.eval_dataset) == 10
    assert len(data.eval_dataset) > 0


class TestBadInput:
    @pytest.fixture
    def root(self, tmp_path):
        _folder(tmp_path, write_map)
        return tmp_path

    def _fails(self, root, match, **options):
        with pytest.raises(InputError, match=match) as error:
            _read(root, **options)
        assert "\n" not in str(error.value)

    def test_another_size(self, root):
        write_map(root / "masks/train/1.png", np.zeros((10, 12), np.uint8))
        self._fails(root, r"1\.png: this map is 12x10 pixels \(width x height\), but image '1' is 30x20")

    def test_a_value_beyond_the_classes(self, root):
        write_map(root / "masks/train/1.png", np.full(SIZE, 7, np.uint8))
        self._fails(root, r"1\.png: the value 7 in the label map of image '1' is that of no class, see .*classes\.txt")

    def test_a_value_of_16_bits(self, root):
        write_map(root / "masks/train/1.png", np.full(SIZE, 700, np.uint16))
        self._fails(root, r"1\.png: the value 700 in the label map of image '1'")

    def test_an_unknown_color(self, root):
        (root / "classes.txt").write_text(COLORED)
        for number in range(3):
            _in_color(root / f"masks/train/{number}.png", blocks([0, 1, 2]))
        write_map(root / "masks/train/1.png", np.full((*SIZE, 3), (3, 4, 5), np.uint8))
        self._fails(root, r"1\.png: the color \(3, 4, 5\) in the label map of image '1' is that of no class")

    def test_colors_without_any_listed(self, root):
        _in_color(root / "masks/train/1.png", blocks([1, 2]))
        self._fails(root, r"1\.png: .* is in color, but .*classes\.txt gives no colors; list there the red, green")

    def test_an_image_without_a_map(self, root):
        (root / "masks/train/1.png").unlink()
        self._fails(root, r"1 of 3 images have no map in .*masks/train \(1\.jpg\); add the maps")

    def test_a_map_without_an_image(self, root):
        (root / "images/train/1.jpg").unlink()
        self._fails(root, r"1 of 3 maps have no image \(1\.png\); add the images, or remove the maps")

    def test_a_jpeg(self, root):
        path = root / "masks/train/1.png"
        Image.fromarray(blocks([0, 1])).save(path.with_suffix(".jpg"))
        path.unlink()
        self._fails(root, r"1\.jpg: the label map of image '1' is a JPEG file, whose compression changes values")

    def test_a_jpeg_called_png(self, root):
        Image.fromarray(blocks([0, 1])).save(root / "masks/train/1.png", "JPEG")
        self._fails(root, r"1\.png: the label map of image '1' is a JPEG file")

    @pytest.mark.parametrize("cut", [0, 30, 60])
    def test_a_broken_file(self, root, cut):
        path = root / "masks/train/1.png"
        path.write_bytes(path.read_bytes()[:cut])
        self._fails(root, r"1\.png: .*(empty|cannot be read as an image)")

    def test_no_such_split(self, root):
        with pytest.raises(InputError, match=r"no split val of images and maps, such as images/val/ and masks/val/"):
            open_split(root, "val", "maps")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("a\na\n", "'a' is listed twice"),
            ("a 1 2 3\nb\n", "give all classes a color of their own, or none; see 'b'"),
            ("a 1 2 3\nb 1 2 3\n", "give all classes a color of their own"),
            ("a 1 2 300\nb 1 2 3\n", "the color of 'a' must be red, green and blue in 0..255"),
        ],
    )
    def test_lists_of_classes(self, root, text, match):
        (root / "classes.txt").write_text(text)
        self._fails(root, match)

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            ({"names": ["a"]}, "found names"),
            ({}, "the list classes is missing"),
            ([3], "a class is a name or an object with the key 'name', not 3"),
            ([{"name": "a", "value": -1}], "the value of 'a' must be 0 to 65535"),
            ([{"name": "a", "value": 1}, {"name": "b", "value": 1}], "two classes have the same value"),
            ({"classes": ["a"], "ignore": "x"}, "'ignore' must be a pixel value or a list"),
            ([{"name": "a", "color": "red"}], "the color of 'a' must be red"),
        ],
    )
    def test_json(self, root, content, match):
        (root / "classes.json").write_text(json.dumps(content))
        self._fails(root, match)
