"""Hidden files beside those of a data set change nothing: macOS's ``._a.jpg``, Jupyter's ``.ipynb_checkpoints``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import noise, write_image

from detkit.data import open_split
from detkit.data.conversion import convert
from detkit.data.formats.open_dataset import format_of
from detkit.data.sources import UnlabeledImages
from detkit.images import find_inputs


def write_coco(root: Path) -> Path:
    for split in ("train", "val"):
        images, annotations = [], []
        for number in range(1, 4):
            write_image(root / "images" / split / f"{number}.png", noise(20, 30, number))
            images.append({"id": number, "file_name": f"{number}.png", "height": 20, "width": 30})
            annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [number, 1, 5, 5]})
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        categories = [{"id": 1, "name": "cat"}]
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root


def write_converted(to: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        convert(write_coco(root.with_name("source")), root, to)
        return root

    return write


def write_folders(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for number in range(2):
                write_image(root / split / name / "deep" / f"{number}.png", noise(20, 30, number))
                write_image(root / split / name / f"{number}.png", noise(20, 30, number))
    return root


def sprinkle(root: Path) -> None:
    """Hidden copies, whole and broken, beside every file and folder."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(100))
            path.with_name(f".{path.name}").write_bytes(path.read_bytes())
            for folder in (".ipynb_checkpoints", ".hidden/deeper"):
                copy = path.parent / folder / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


@pytest.mark.parametrize(
    ("format", "write"),
    [
        ("coco", write_coco),
        ("yolo", write_converted("yolo")),
        ("voc", write_converted("voc")),
        ("folders", write_folders),
    ],
)
def test_data_sets_stay_the_same(tmp_path: Path, format: str, write: Callable[[Path], Path]):
    # Only what lies below the root counts: users keep their data wherever they like.
    root = write(tmp_path / ".cache" / "data")
    before = {split: open_split(root, split, format) for split in ("train", "val")}
    sprinkle(root)
    assert format_of(root) == format
    for split, dataset in before.items():
        after = open_split(root, split)
        assert after.image_ids == dataset.image_ids
        assert after.ground_truth() == dataset.ground_truth()
        assert [category.name for category in after.categories] == [category.name for category in dataset.categories]


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_conversions_stay_the_same(tmp_path: Path, to: str):
    root = write_coco(tmp_path / "data")
    sprinkle(root)
    assert convert(root, tmp_path / to, to).images == {"train": 3, "val": 3}
    sprinkle(tmp_path / to)
    back = convert(tmp_path / to, tmp_path / "back", "coco")
    assert back.images == {"train": 3, "val": 3}
    assert back.boxes == {"train": 3, "val": 3}


def test_unlabeled_images_and_inputs_stay_the_same(tmp_path: Path):
    root = write_folders(tmp_path / "data")
    folder = root / "train" / "cat"
    patterns = [folder, str(folder / "*"), str(root / "**" / "*.png"), str(root / "*" / "cat")]
    unlabeled, inputs = list(UnlabeledImages(root).paths), [_found(pattern) for pattern in patterns]
    sprinkle(root)
    assert list(UnlabeledImages(root).paths) == unlabeled
    assert [_found(pattern) for pattern in patterns] == inputs


def test_a_hidden_image_that_is_named_is_an_input(tmp_path: Path):
    path = write_image(tmp_path / ".a.png", noise(20, 30))
    assert find_inputs(path) == [path]
    assert find_inputs(str(tmp_path / ".*.png")) == [path]


def _found(pattern: str | Path) -> list[Path] | str:
    try:
        return find_inputs(pattern)
    except Exception as error:
        return str(error)
