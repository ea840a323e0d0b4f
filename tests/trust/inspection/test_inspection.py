"""Each planted fault of a folder is named, with the file; folders without faults have none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import write_image
from PIL import Image
from planted_data import change, inspected, kinds, scene, shapes

from detkit.data import DataModule
from detkit.data.conversion import convert
from detkit.errors import InputError
from detkit.trust.inspection import inspect_data

SHARED = Path(os.environ.get("DETKIT_SHARED", "../shared")) / "data"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return shapes(tmp_path_factory.mktemp("drawn") / "shapes")


@pytest.fixture
def root(drawn, tmp_path) -> Path:
    """A copy that may be spoiled."""
    return shutil.copytree(drawn, tmp_path / "shapes")


class TestSoundData:
    @pytest.mark.parametrize("seed", range(4))
    def test_has_no_fault(self, tmp_path, seed):
        inspection = inspected(shapes(tmp_path / "data", seed, {"train": 40, "val": 20}))
        assert not inspection.problems
        assert inspection.scanned == inspection.images == 60

    @pytest.mark.parametrize("format", ["voc", "yolo", "labelme"])
    def test_in_another_format_has_none_either(self, root, tmp_path, format):
        convert(root, tmp_path / "other", format)
        inspection = inspected(tmp_path / "other")
        assert inspection.format == format
        assert not inspection.problems
        assert [row[:2] for row in inspection.tables[0].rows] == [["train", 12], ["val", 6]]

    def test_of_classes_of_images(self, tmp_path):
        for k in range(12):
            write_image(tmp_path / ("train" if k < 8 else "val") / "ab"[k % 2] / f"{k}.png", scene(k))
        inspection = inspected(tmp_path)
        assert not inspection.problems
        assert inspection.tables[1].rows == [["a", 4, 2, 50.0], ["b", 4, 2, 50.0]]


class TestFiles:
    def test_missing(self, root):
        (root / "images/train/000003.jpg").unlink()
        (problem,) = inspected(root).problems
        assert (problem.name, problem.level, problem.examples) == ("missing_images", "error", ["000003.jpg"])

    @pytest.mark.parametrize("content", [b"", b"no image", None])
    def test_broken(self, root, content):
        path = next(root.glob("images/val/*.jpg"))
        path.write_bytes(path.read_bytes()[:-400] if content is None else content)
        (problem,) = inspected(root).problems
        assert (problem.name, problem.level, problem.split) == ("broken_images", "error", "val")
        assert problem.examples[0].startswith(f"{path}: ")

    def test_of_another_size(self, root):
        change(root, "train", lambda content: spoil_first(content, width=999))
        (problem,) = inspected(root).of_level("error")
        assert problem.name == "wrong_sizes"
        assert ", but 999x" in problem.examples[0]

    def test_annotated_as_stored_though_exif_turns_them(self, root):
        path = root / "images/train/000000.jpg"
        turn(path, 6)
        assert kinds(inspected(root)) == {"annotated_as_stored": 1}

    def test_square_and_turned_by_exif(self, root):
        write_image(root / "images/train/000000.jpg", scene(0)[:64, :64])
        turn(root / "images/train/000000.jpg", 6)
        change(root, "train", lambda content: spoil_first(content, width=64, height=64))
        assert kinds(inspected(root)) == {"uncertain_orientation": 1}

    def test_named_by_no_annotation(self, root):
        write_image(root / "images/val/new.png", scene(0))
        (problem,) = inspected(root).problems
        assert (problem.name, problem.examples) == ("unlisted_images", [str(root / "images/val/new.png")])

    def test_named_twice(self, root):
        change(root, "train", lambda content: content["images"][1].update(content["images"][0] | {"id": 2}))
        found = kinds(inspected(root))
        assert found["files_listed_twice"] == 1

    def test_blank(self, root):
        path = root / "images/val/000001.jpg"
        write_image(path, np.zeros_like(cv2.imread(str(path))))
        assert kinds(inspected(root)) == {"blank_images": 1}


class TestDuplicates:
    def test_a_copy_in_another_split_leaks(self, root):
        change(root, "val", lambda content: copy_image(root, content, "train", "png"))
        inspection = inspected(root)
        assert kinds(inspection) == {"exact_leaks": 1}
        (pair,) = inspection.pairs
        assert pair.is_leak
        assert pair.is_exact

    def test_a_compressed_copy_in_another_split_leaks(self, root):
        change(root, "val", lambda content: copy_image(root, content, "train", "jpg"))
        assert kinds(inspected(root)) == {"near_leaks": 1}

    def test_a_copy_in_one_split(self, root):
        change(root, "val", lambda content: copy_image(root, content, "val", "png"))
        assert kinds(inspected(root)) == {"exact_duplicates": 1}

    def test_one_file_in_two_splits(self, root):
        def point(content):
            (root / "images/val" / content["images"][0]["file_name"]).unlink()
            content["images"][0]["file_name"] = "../train/000002.jpg"
            size = cv2.imread(str(root / "images/train/000002.jpg")).shape[:2]
            spoil_first(content, height=size[0], width=size[1])

        change(root, "val", point)
        assert kinds(inspected(root)) == {"exact_leaks": 1}


class TestAnnotations:
    def test_that_cannot_be_read_do_not_end_the_inspection(self, root):
        def spoil(content):
            content["annotations"][0]["category_id"] = 99
            content["annotations"][1]["bbox"] = "none"

        change(root, "train", spoil)
        (problem,) = inspected(root).problems
        assert (problem.name, problem.level, problem.count) == ("unreadable_annotations", "error", 2)

    def test_a_split_that_cannot_be_read_does_not_hide_the_others(self, root):
        (root / "annotations/instances_val.json").write_text("{")
        inspection = inspected(root)
        assert kinds(inspection) == {"unreadable_annotations": 1}
        assert [split.name for split in inspection.splits] == ["train"]

    def test_of_yolo_name_file_and_line(self, root, tmp_path):
        convert(root, tmp_path / "yolo", "yolo")
        labels = next((tmp_path / "yolo/labels/train").iterdir())
        labels.write_text(labels.read_text() + "77 0.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.1\n")
        inspection = inspected(tmp_path / "yolo")
        assert kinds(inspection) == {"unreadable_annotations": 1, "boxes_without_area": 1}
        assert all(labels.name in problem.examples[0] for problem in inspection.problems)


class TestScope:
    def test_of_many_images_some_are_decoded_and_it_is_told(self, root):
        inspection = inspected(root, most_images=5)
        assert inspection.scanned == 5
        assert inspection.coverage.startswith("5 of 18 image files were decoded")

    def test_given_files(self, root):
        data = DataModule(
            train_images=root / "images/train", train_annotations=root / "annotations/instances_train.json"
        )
        inspection = inspect_data(data.splits)
        assert [split.name for split in inspection.splits] == ["train"]
        assert not inspection.problems

    def test_of_a_data_set_of_ones_own_the_annotations(self, root):
        own = DataModule(root).splits
        inspection = inspect_data(DataModule(dataset=lambda split: own.open(split, {})).splits)
        assert not inspection.problems
        assert [row[:2] for row in inspection.tables[0].rows] == [["train", 12], ["val", 6]]
        assert inspection.coverage.endswith("no image was looked at")

    def test_a_folder_without_data_is_refused_as_by_a_training(self, tmp_path):
        with pytest.raises(InputError, match="no images and no annotations"):
            inspected(tmp_path)

    def test_all_is_json(self, root):
        change(root, "val", lambda content: copy_image(root, content, "train", "png"))
        content = json.loads(json.dumps(inspected(root).entry()))
        assert content["problems"][0]["name"] == "exact_leaks"
        assert content["duplicates"][0]["splits"] == ["train", "val"]
        assert content["tables"]["splits"]["rows"][0][:2] == ["train", 12]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data sets")
class TestRealData:
    def test_bccd(self):
        """Seven cells are annotated twice, and a scene is in train and val with another focus; both were looked at."""
        inspection = inspected(SHARED / "bccd")
        assert kinds(inspection) == {"objects_twice": 7, "near_leaks": 1}
        (pair,) = inspection.pairs
        assert {pair.first.path.name, pair.second.path.name} == {"BloodImage_00037.jpg", "BloodImage_00038.jpg"}

    @pytest.mark.slow
    def test_nuclei(self):
        """Crowded images, which its source states, and nothing else."""
        assert kinds(inspected(SHARED / "nuclei")) == {"many_objects": 11}


def turn(path: Path, orientation: int) -> None:
    image = Image.open(path)
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, exif=exif, quality=95)


def spoil_first(content: dict, **size: int) -> None:
    """Another size of the first image, without objects."""
    content["images"][0].update(size)
    first = content["images"][0]["id"]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != first]


def copy_image(root: Path, content: dict, source: str, suffix: str) -> None:
    """Add the second image of `source` under another name."""
    pixels = cv2.imread(str(sorted((root / "images" / source).iterdir())[1]))
    cv2.imwrite(str(root / "images/val" / f"copy.{suffix}"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 60])
    height, width = pixels.shape[:2]
    content["images"].append({"id": 900, "file_name": f"copy.{suffix}", "height": height, "width": width})
