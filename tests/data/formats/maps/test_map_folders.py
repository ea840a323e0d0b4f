"""Any folder of images and label maps: values, palettes, colors."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from written_maps import (
    COLORED,
    COLORS,
    NAMES,
    SIZE,
    blocks,
    map_folder,
    png_bytes,
    read_folder,
    write_colors,
    write_image,
    write_map,
)

from detkit.data import DataModule, Loader, MapFolderDataset, format_of, open_split
from detkit.errors import InputError
from detkit.testing import check_dataset


def _indexed(path, values):
    write_map(path, values, [channel for number in range(256) for channel in ((number * 37) % 256, 5, 9)])


def _wide(path, values):
    write_map(path, np.where(values == 255, 255, values).astype(np.uint16))


def _indexed_colors(path, values):
    """Indices in another order than the classes, as programs choose them."""
    order = np.array([2, 0, 1])
    palette = np.zeros((256, 3), np.uint8)
    palette[order] = COLORS
    write_map(path, order[values].astype(np.uint8), palette.ravel().tolist())


def _gray_as_rgb(path, values):
    write_map(path, values[..., None].repeat(3, 2))


def _opaque(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).convert("LA").save(path)


def _opaque_colors(path, values):
    table = np.full((256, 4), 255, np.uint8)
    table[: len(COLORS), :3] = COLORS
    write_map(path, table[values])


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

    palette = bytes(channel for number in range(256) for channel in (number, 255 - number, 7))
    path.write_bytes(png_bytes((height, width), 8, 3, [raw], palette, interlaced=True))


@pytest.mark.parametrize("save", [write_map, _indexed, _wide, _gray_as_rgb, _interlaced, _opaque])
def test_values(tmp_path, save):
    maps = map_folder(tmp_path, save)
    assert format_of(tmp_path) == "maps"
    for read, values in zip(read_folder(tmp_path), maps, strict=True):
        assert read.dtype == np.uint8
        assert np.array_equal(read, values)


@pytest.mark.parametrize("save", [write_colors, _indexed_colors, _opaque_colors])
def test_colors(tmp_path, save):
    maps = map_folder(tmp_path, save, COLORED, values=(0, 1, 2))
    for read, values in zip(read_folder(tmp_path), maps, strict=True):
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

    path.write_bytes(png_bytes((SIZE[0], width), bits, 0, [b"\0" + row for row in rows]))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert np.array_equal(read_folder(tmp_path)[0], values)


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
    maps = map_folder(tmp_path, write_colors, values=(0, 1, 2))
    (tmp_path / "classes.txt").unlink()
    (tmp_path / name).write_text(text)
    assert [one.name for one in open_split(tmp_path, "train").categories] == ["road", "car", "sky"]
    assert np.array_equal(read_folder(tmp_path)[1], maps[1])


def test_json_with_values_and_ignored_ones(tmp_path):
    maps = map_folder(tmp_path, write_map, values=(7, 9, 255, 100))
    (tmp_path / "classes.txt").unlink()
    classes = [{"name": "sky", "value": 255, "isthing": 0}, {"name": "car", "value": 9}]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes, "ignore": [7, 100]}))
    dataset = open_split(tmp_path, "train", reads={"label_map"})
    assert [(one.id, one.name, one.is_thing) for one in dataset.categories] == [(9, "car", True), (255, "sky", False)]
    expected = np.select([maps[0] == 9, maps[0] == 255], [0, 1], 255)
    assert np.array_equal(dataset.target(0).label_map.numpy(), expected)


def test_reduced_zero_label(tmp_path):
    maps = map_folder(tmp_path, write_map, values=(0, 1, 2, 3, 255))
    dataset = MapFolderDataset("train", tmp_path, reduce_zero_label=True)
    for index, values in enumerate(maps):
        expected = np.where((values == 0) | (values == 255), 255, values.astype(int) - 1)
        assert np.array_equal(dataset.target(index).label_map.numpy(), expected)


def test_names_on_the_command_line(tmp_path):
    maps = map_folder(tmp_path, write_map)
    (tmp_path / "classes.txt").unlink()
    assert np.array_equal(read_folder(tmp_path, class_names=["a", "b", "c"])[0], maps[0])
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
    assert np.array_equal(read_folder(tmp_path)[0], values)


def test_the_data_set_holds_to_the_interface(tmp_path):
    map_folder(tmp_path, write_map, count=6)
    dataset = open_split(tmp_path, "train", reads={"label_map"})
    check_dataset(dataset)
    assert dataset.image_sizes.tolist() == [list(SIZE)] * 6
    assert dataset.target(0).boxes is None
    assert dataset.packed_annotations.columns["label_map"].paths[0].endswith("masks/train/0.png")
    read = [target for _, batch in Loader(dataset, 1, batch_size=4) for target in batch]
    assert all(torch.equal(one.label_map, dataset.target(i).label_map) for i, one in enumerate(read))


def test_a_part_is_held_out_where_there_is_no_validation(tmp_path):
    map_folder(tmp_path, write_map, count=10)
    data = DataModule(tmp_path, val_fraction=0.3, reads=["label_map"])
    assert len(data.train_dataset) + len(data.eval_dataset) == 10
    assert len(data.eval_dataset) > 0
