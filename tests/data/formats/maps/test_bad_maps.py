"""What is wrong with a folder of images and label maps is said in one sentence that names the file."""

import json

import numpy as np
import pytest
from PIL import Image
from written_maps import COLORED, SIZE, blocks, map_folder, png_bytes, read_folder, write_colors, write_map

from detkit.data import open_split
from detkit.errors import InputError


@pytest.fixture
def root(tmp_path):
    map_folder(tmp_path, write_map)
    return tmp_path


def check_fails(root, match, **options):
    with pytest.raises(InputError, match=match) as error:
        read_folder(root, **options)
    assert "\n" not in str(error.value)


def test_another_size(root):
    write_map(root / "masks/train/1.png", np.zeros((10, 12), np.uint8))
    check_fails(root, r"1\.png: this map is 12x10 pixels \(width x height\), but image '1' is 30x20")


def test_a_value_beyond_the_classes(root):
    write_map(root / "masks/train/1.png", np.full(SIZE, 7, np.uint8))
    check_fails(root, r"1\.png: the value 7 in the label map of image '1' is that of no class, see .*classes\.txt")


def test_a_value_of_16_bits(root):
    write_map(root / "masks/train/1.png", np.full(SIZE, 700, np.uint16))
    check_fails(root, r"1\.png: the value 700 in the label map of image '1'")


def test_an_unknown_color(root):
    (root / "classes.txt").write_text(COLORED)
    for number in range(3):
        write_colors(root / f"masks/train/{number}.png", blocks([0, 1, 2]))
    write_map(root / "masks/train/1.png", np.full((*SIZE, 3), (3, 4, 5), np.uint8))
    check_fails(root, r"1\.png: the color \(3, 4, 5\) in the label map of image '1' is that of no class")


def test_colors_without_any_listed(root):
    write_colors(root / "masks/train/1.png", blocks([1, 2]))
    check_fails(root, r"1\.png: .* is in color, but .*classes\.txt gives no colors; list there the red, green")


def test_an_image_without_a_map(root):
    (root / "masks/train/1.png").unlink()
    check_fails(root, r"1 of 3 images have no map in .*masks/train \(1\.jpg\); add the maps")


def test_a_map_without_an_image(root):
    (root / "images/train/1.jpg").unlink()
    check_fails(root, r"1 of 3 maps have no image \(1\.png\); add the images, or remove the maps")


def test_a_jpeg(root):
    path = root / "masks/train/1.png"
    Image.fromarray(blocks([0, 1])).save(path.with_suffix(".jpg"))
    path.unlink()
    check_fails(root, r"1\.jpg: the label map of image '1' is a JPEG file, whose compression changes values")


def test_a_jpeg_calledpng_bytes(root):
    Image.fromarray(blocks([0, 1])).save(root / "masks/train/1.png", "JPEG")
    check_fails(root, r"1\.png: the label map of image '1' is a JPEG file")


@pytest.mark.parametrize("cut", [0, 30, 60])
def test_a_broken_file(root, cut):
    path = root / "masks/train/1.png"
    path.write_bytes(path.read_bytes()[:cut])
    check_fails(root, r"1\.png: .*(empty|cannot be read as an image)")


@pytest.mark.parametrize(("content", "what"), [(b"", "empty"), (b"no image", "of no known format")])
def test_a_file_that_is_no_image(root, content, what):
    (root / "masks/train/1.png").write_bytes(content)
    check_fails(root, rf"1\.png: the label map of image '1' cannot be read as an image: the file is {what}; write it")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels(root, mode):
    image = Image.fromarray(blocks([0, 1])).convert(mode)
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[2, 3:6] = [0, 100, 254]
    image.putalpha(Image.fromarray(alpha))
    image.save(root / "masks/train/1.png")
    check_fails(root, r"1\.png: the label map of image '1' has 3 transparent pixels, [^:]*; write it without alpha")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colors_of_16_bits(root, channels):
    """Pillow would drop the lower 8 bits, in which the classes are."""
    kind = {2: 4, 3: 2, 4: 6}[channels]
    wide = np.full((*SIZE, channels), 1, ">u2")
    (root / "masks/train/1.png").write_bytes(png_bytes(SIZE, 16, kind, [b"\0" + row.tobytes() for row in wide]))
    check_fails(root, r"1\.png: the label map of image '1' has colors of 16 bits a channel; write it with 8 bits")


@pytest.mark.parametrize("name", ["classes.txt", "class_dict.csv", "classes.json"])
def test_an_empty_list_of_classes(root, name):
    (root / "classes.txt").unlink()
    (root / name).write_text("[]" if name.endswith("json") else "\n")
    check_fails(root, rf"{name}: it lists no class; write a class a line")


def test_no_such_split(root):
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
def test_lists_of_classes(root, text, match):
    (root / "classes.txt").write_text(text)
    check_fails(root, match)


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
def test_json(root, content, match):
    (root / "classes.json").write_text(json.dumps(content))
    check_fails(root, match)


def test_names_that_are_not_those_of_the_file(root):
    """The file knows which value is which class: a data source gets the names of the main data."""
    assert len(read_folder(root, class_names=["road", "car", "sky"])) == 3
    check_fails(
        root,
        r"classes\.txt lists the classes \['road', 'car', 'sky'\], but \['car', 'road'\] are given",
        class_names=["car", "road"],
    )


def test_names_leave_the_values_of_the_file(root):
    values = [{"name": "road", "value": 0}, {"name": "sky", "value": 2}]
    (root / "classes.json").write_text(json.dumps({"classes": values, "ignore": [1, 255]}))
    expected = read_folder(root)
    assert any((one == 1).any() for one in expected)
    for one, own in zip(read_folder(root, class_names=["road", "sky"]), expected, strict=True):
        assert np.array_equal(one, own)
