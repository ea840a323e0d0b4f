"""The names of files in annotations: written on Windows, in capital letters, with rarer suffixes."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image
from PIL import Image

from detkit.data import CocoDataset, ImageFolderDataset, VocDataset, YoloDataset, find_split
from detkit.data.sources import UnlabeledImages
from detkit.errors import InputError
from detkit.images import IMAGE_SUFFIXES, find_inputs, image_size, read_image

ENCODINGS = {".jpg": "JPEG", ".tif": "TIFF", ".jp2": "JPEG2000", ".avif": "AVIF", ".mpo": "MPO"} | {
    suffix: suffix.strip(".").upper() for suffix in (".png", ".bmp", ".webp", ".gif", ".ppm")
}
ENCODINGS |= dict.fromkeys((".jpeg", ".jpe", ".jfif"), "JPEG") | {".tiff": "TIFF"}
ENCODINGS |= dict.fromkeys((".pgm", ".pbm", ".pnm"), "PPM")


def encoded(suffix: str) -> bytes:
    image = np.full((16, 24, 3), (200, 100, 40), np.uint8)
    image[:, 12:] = (20, 60, 220)
    content = BytesIO()
    Image.fromarray(image).save(content, ENCODINGS[suffix])
    return content.getvalue()


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_every_suffix_is_listed_and_read_with_the_right_colors(tmp_path: Path, suffix: str, case):
    path = tmp_path / "train" / "cat" / f"a{case(suffix)}"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(suffix))
    (tmp_path / "data.yaml").write_text("train: train\nnames: [cat]")
    path.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5")
    assert find_inputs(path.parent) == [path]
    for dataset in (UnlabeledImages(tmp_path), ImageFolderDataset(tmp_path), YoloDataset(tmp_path)):
        pixels, _ = dataset.read(0)
        assert pixels.shape == (16, 24, 3)
        assert np.abs(pixels[8, [2, -2]].astype(int) - [(200, 100, 40), (20, 60, 220)]).max() <= 12
    assert image_size(path) == (16, 24)


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_coco_names(tmp_path: Path, slash: str):
    expected = [noise(20, 30, number) for number in range(2)]
    images = []
    for number, pixels in enumerate(expected):
        write_image(tmp_path / "images" / "x" / "y" / f"{number}.png", pixels)
        images.append({"id": number, "file_name": slash.join(["x", "y", f"{number}.png"])})
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    dataset = CocoDataset(*find_split(tmp_path, "train"))
    for index, pixels in enumerate(expected):
        assert np.array_equal(dataset.read(index)[0], pixels)
    assert dataset.image_sizes.tolist() == [[20, 30]] * 2


def test_a_file_of_the_literal_name_comes_first(tmp_path: Path):
    literal = write_image(tmp_path / r"x\a.png", noise(20, 30, 1))
    write_image(tmp_path / "x" / "a.png", noise(20, 30, 2))
    assert find_inputs(str(literal)) == [literal]
    assert np.array_equal(read_image(find_inputs(str(literal))[0]), noise(20, 30, 1))


def test_yolo_lists_and_folders(tmp_path: Path):
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "a.png", noise(20, 30))
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "train.txt").write_text("images\\train\\a.png\r\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: 'images\\val'\nnames: [cat]")
    for split in ("train", "val"):
        image, target = YoloDataset(tmp_path, split)[0]
        assert image.shape == (3, 20, 30)
        assert target.boxes.tolist() == [[7.5, 5, 22.5, 15]]


def test_voc_image_sets(tmp_path: Path):
    write_image(tmp_path / "JPEGImages" / "x" / "a.png", noise(20, 30))
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    for path, content in {
        "Annotations/x/a.xml": f"<annotation><object><name>cat</name>{box}</object></annotation>",
        "Annotations/b.xml": "<annotation></annotation>",
        "ImageSets/Main/train.txt": "x\\a\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    image, target = VocDataset(tmp_path, class_names=["cat"])[0]
    assert image.shape == (3, 20, 30)
    assert target.boxes.tolist() == [[1, 2, 9, 8]]


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "a\0.png", "..\\..\\none.png", ""])
def test_names_that_no_file_can_have(tmp_path: Path, name: str):
    (tmp_path / "images").mkdir()
    image = {"id": 1, "file_name": name}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(InputError):
        CocoDataset(*find_split(tmp_path, "train"))
    (tmp_path / "train.json").write_text(json.dumps(content | {"images": [image | {"height": 4, "width": 4}]}))
    with pytest.raises(InputError):
        CocoDataset(*find_split(tmp_path, "train"))
