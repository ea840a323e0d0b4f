"""Every data set turns an image as `read_image` does, so that training, evaluation and prediction see the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps

from detkit.data import CocoDataset, ImageDataset, ImageFolderDataset, VocDataset, YoloDataset
from detkit.data.conversion import convert
from detkit.data.sources import UnlabeledImages
from detkit.images import find_inputs, image_size, read_image
from detkit.images.reading import read_header

ORIENTATIONS = range(1, 9)
SIZES = {"wide": (24, 40), "square": (32, 32)}
BOX = [3.0, 5.0, 8.0, 11.0]
"""Lies in the image whichever way it is turned."""

pytestmark = [pytest.mark.parametrize("orientation", ORIENTATIONS), pytest.mark.parametrize("shape", SIZES)]


@pytest.fixture
def image(tmp_path: Path, orientation: int, shape: str) -> Path:
    """A photograph of a data set in every format, whose annotations state no size."""
    height, width = SIZES[shape]
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "data" / "images" / "train" / "cat" / "a.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(path, exif=exif, quality=100, subsampling=0)
    return path


@pytest.fixture
def expected(image: Path) -> np.ndarray:
    with Image.open(image) as stored:
        return np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))


def as_coco(image: Path, **size: int) -> CocoDataset:
    content = {
        "images": [{"id": 1, "file_name": "cat/a.jpg", **size}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    root = image.parents[3]
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return CocoDataset(root / "images" / "train", root / "annotations" / "instances_train.json")


def as_yolo(image: Path) -> YoloDataset:
    height, width = image_size(image)
    x, y, w, h = BOX
    labels = image.parents[3] / "labels" / "train" / "cat" / "a.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text(f"0 {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}\n")
    (image.parents[3] / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "names": ["cat"]}))
    return YoloDataset(image.parents[3])


def as_voc(image: Path) -> VocDataset:
    root = image.parents[3] / "voc"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").write_bytes(image.read_bytes())
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    x, y, w, h = map(int, BOX)
    box = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
    found = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{found}</annotation>")
    return VocDataset(root)


def as_folders(image: Path) -> ImageFolderDataset:
    return ImageFolderDataset(image.parents[2])


def as_unlabeled(image: Path) -> UnlabeledImages:
    return UnlabeledImages(image.parent)


@pytest.mark.parametrize("open_as", [as_coco, as_yolo, as_voc, as_folders, as_unlabeled])
def test_what_states_no_size_is_turned(image: Path, expected: np.ndarray, open_as):
    dataset = open_as(image)
    pixels, target = dataset.read(0)
    assert np.array_equal(pixels, expected)
    assert np.array_equal(pixels, read_image(image))
    assert np.array_equal(pixels, read_image(find_inputs(image.parent)[0]))  # of detkit predict
    if open_as in (as_coco, as_yolo, as_voc):
        assert tuple(dataset.image_sizes[0]) == expected.shape[:2] == image_size(image)
        np.testing.assert_allclose(target.boxes.tolist(), [[3, 5, 11, 16]], atol=1e-5)


def test_the_size_of_the_turned_image_agrees(image: Path, expected: np.ndarray):
    height, width = expected.shape[:2]
    assert np.array_equal(as_coco(image, height=height, width=width).read(0)[0], expected)


def test_only_a_size_of_the_stored_pixels_alone_keeps_them(image: Path, expected: np.ndarray, shape: str):
    height, width = SIZES[shape]
    pixels = as_coco(image, height=height, width=width).read(0)[0]
    with Image.open(image) as stored:
        decided = expected if expected.shape[:2] == (height, width) else np.asarray(stored)
    assert np.array_equal(pixels, decided)


@pytest.mark.parametrize("stated", ["nothing", "turned", "stored"])
@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_copies_are_turned_as_their_labels(
    image: Path, expected: np.ndarray, shape: str, stated: str, to: str, tmp_path: Path
):
    height, width = expected.shape[:2] if stated == "turned" else SIZES[shape]
    dataset = as_coco(image) if stated == "nothing" else as_coco(image, height=height, width=width)
    convert(image.parents[3], tmp_path / to, to)
    _check_copy(YoloDataset(tmp_path / to) if to == "yolo" else VocDataset(tmp_path / to), dataset)


@pytest.mark.parametrize("open_as", [as_yolo, as_voc])
@pytest.mark.parametrize("images", ["copy", "link"])
def test_copies_of_other_formats(image: Path, open_as, images: str, tmp_path: Path):
    dataset = open_as(image)
    root = image.parents[3] / "voc" if open_as is as_voc else image.parents[3]
    convert(root, tmp_path / "coco", "coco", images=images)
    folder = tmp_path / "coco"
    _check_copy(CocoDataset(folder / "images" / "train", folder / "annotations" / "instances_train.json"), dataset)


def _check_copy(copied: ImageDataset, original: ImageDataset) -> None:
    """The same pixels and boxes, also for programs that overlook the orientation."""
    (pixels, target), (expected, annotated) = copied.read(0), original.read(0)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 3  # JPEG of the best quality
    np.testing.assert_allclose(target.boxes, annotated.boxes, atol=1e-4)
    path = next(copied.images_path.rglob("*.jpg"))
    assert read_header(path).orientation == 1
    with Image.open(path) as stored:
        assert 0x0112 not in stored.getexif() or stored.getexif()[0x0112] == 1
        assert np.array_equal(np.asarray(stored), pixels)
