"""``with_masks`` and ``with_keypoints`` of before, by name and by place."""

import json
from pathlib import Path

import pytest
from image_files import noise, write_image

from detkit.data import CocoDataset, DataModule, YoloDataset, open_split

PERSON = [{"id": 3, "name": "three", "keypoints": ["a"]}, {"id": 7, "name": "seven"}]


def reads(dataset: CocoDataset) -> set[str]:
    return {name for name in ("masks", "keypoints") if getattr(dataset.target(1), name) is not None}


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((), {"with_masks": True}, {"masks"}),
        ((), {"with_keypoints": True, "with_masks": False}, {"keypoints"}),
        ((True,), {}, {"masks"}),
        ((True, True), {}, {"masks", "keypoints"}),
        ((False, True, "skip"), {}, {"keypoints"}),
        ((False, False, "skip", "skip"), {}, set()),
        ((), {"with_masks": True, "reads": {"keypoints"}}, {"masks", "keypoints"}),
    ],
)
def test_data_sets(coco_folder, arguments: tuple, options: dict, expected: set):
    folder = coco_folder(categories=PERSON)
    with pytest.warns(DeprecationWarning, match=r"CocoDataset\(reads="):
        dataset = CocoDataset(*folder, *arguments, **options)
    assert reads(dataset) == expected
    assert dataset._on_bad_image == ("skip" if "skip" in arguments else "error")
    assert dataset._on_bad_box == ("skip" if arguments.count("skip") == 2 else "error")


def test_without_them_there_is_no_warning(coco_folder, recwarn):
    assert reads(CocoDataset(*coco_folder(), ["masks"], "error")) == {"masks"}
    assert not [warning for warning in recwarn if warning.category is DeprecationWarning and "reads" in str(warning)]


def test_other_doors(coco_folder):
    images, path = coco_folder(categories=PERSON)
    with pytest.warns(DeprecationWarning, match=r"open_split\(with_masks\)"):
        assert reads(open_split(images.parent, "train", None, None, True)) == {"masks"}
    with pytest.warns(DeprecationWarning, match="DataModule"):
        data = DataModule(train_images=images, train_annotations=path, with_keypoints=True)
    assert reads(data.train_dataset) == {"keypoints"}


def test_voc_and_yolo(tmp_path: Path):
    root = tmp_path / "yolo"
    write_image(root / "images" / "train" / "a.png", noise(20, 20))
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9")
    (root / "data.yaml").write_text(json.dumps({"train": "images/train", "names": ["a"]}))
    with pytest.warns(DeprecationWarning, match="YoloDataset"):
        dataset = YoloDataset(root, "train", True)
    assert dataset.target(0).masks is not None
    plain = YoloDataset(root, "train")
    assert plain.target(0).masks is None
    assert "segmentation" in plain.ground_truth()["annotations"][0]  # of which masks are evaluated
