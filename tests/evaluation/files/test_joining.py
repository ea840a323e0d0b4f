"""Entries of a results file belong to what they name; where name and id contradict each other, they are refused."""

import json
import logging

import pytest

from detkit.errors import InputError
from detkit.evaluation import evaluate_detections_file

IMAGES = {17: "val/b.jpg", 5: "val/a.jpg", 900: "val\\c.jpg", 1: "train/a.jpg"}
CATEGORIES = {3: "disc", 1: "ring", 2: "star"}
SIDES = {17: 10, 5: 20, 900: 30, 1: 40}
CLASSES = {17: 3, 5: 1, 900: 2, 1: 1}
ANNOTATIONS = {
    "images": [{"id": key, "file_name": name, "height": 99, "width": 99} for key, name in IMAGES.items()],
    "categories": [{"id": key, "name": name} for key, name in CATEGORIES.items()],
    "annotations": [
        {"id": key, "image_id": key, "category_id": CLASSES[key], "bbox": [1, 2, side, side]}
        for key, side in SIDES.items()
    ],
}
PERFECT = [
    {
        "file_name": IMAGES[key],
        "image_id": key,
        "category_id": CLASSES[key],
        "category": CATEGORIES[CLASSES[key]],
        "bbox": [1, 2, side, side],
        "score": 0.9,
    }
    for key, side in SIDES.items()
]


@pytest.fixture(params=["of a file", "in memory"])
def average_precision(request, tmp_path):
    """AP of entries, read by the quick reader or by the careful one."""

    def evaluate(entries, annotations=ANNOTATIONS):
        if request.param == "in memory":
            return evaluate_detections_file(annotations, entries).metrics["AP"]
        for name, content in {"annotations": annotations, "detections": entries}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return evaluate_detections_file(tmp_path / "annotations.json", tmp_path / "detections.json").metrics["AP"]

    return evaluate


def changed(**by_name):
    """The perfect entries with keys replaced, or left out where they become None."""
    entries = [entry | {key: change(entry) for key, change in by_name.items()} for entry in PERFECT]
    return [{key: value for key, value in entry.items() if value is not None} for entry in entries]


@pytest.mark.parametrize(
    "entries",
    {
        "names and ids": PERFECT,
        "ids alone": changed(file_name=lambda one: None, category=lambda one: None),
        "names alone": changed(image_id=lambda one: None, category_id=lambda one: None),
        "the name as id": changed(image_id=lambda one: one["file_name"]),
        "folders in front": changed(file_name=lambda one: f"/data/{one['file_name']}", image_id=lambda one: None),
        "Windows": changed(file_name=lambda one: f"C:\\data\\{one['file_name']}".replace("/", "\\")),
        "an id decides between two of a name": changed(
            file_name=lambda one: one["file_name"].replace("\\", "/").split("/")[-1]
        ),
        "whole numbers with a point": changed(image_id=lambda one: float(one["image_id"])),
        "some by name, some by id": PERFECT[:2] + changed(file_name=lambda one: None)[2:],
    }.items(),
    ids=lambda one: one[0],
)
def test_perfect_boxes_have_an_ap_of_1(average_precision, entries, caplog):
    with caplog.at_level(logging.WARNING):
        assert average_precision(entries[1]) == 1.0
    assert not caplog.messages


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_ids_that_only_the_file_knows_are_said_and_names_decide(average_precision, order, caplog):
    own = {IMAGES[key]: 100 + number for number, key in enumerate(IMAGES)}
    entries = changed(image_id=lambda one: own[one["file_name"]], category_id=lambda one: one["category_id"] + 50)
    with caplog.at_level(logging.WARNING):
        assert average_precision([entries[number] for number in order]) == 1.0
    images, categories = caplog.messages
    assert "numbers images in its own way" in images
    assert "joined by file_name" in images
    assert "numbers categories in its own way" in categories


SWAPPED = {17: 5, 5: 17, 900: 900, 1: 1}


CONTRADICTIONS = {
    "two images are swapped": (
        changed(image_id=lambda one: SWAPPED[one["image_id"]]),
        ["entry 0", "image_id 5", "'val/b.jpg'", "contradict", "the id 17"],
    ),
    "one id is unknown": (
        PERFECT[:1] + changed(image_id=lambda one: 77)[1:2],
        ["entry 1", "image_id 77", "'val/a.jpg'", "contradict"],
    ),
    "the id is the name of another image": (
        changed(image_id=lambda one: "val/a.jpg")[:1],
        ["entry 0", "image_id 'val/a.jpg'", "contradict"],
    ),
    "numbers from 1 that annotations have too": (
        [entry | {"image_id": number} for number, entry in enumerate(PERFECT, 1)],
        ["entry 0", "image_id 1", "contradict", "leave image_id out"],
    ),
    "one own id of two images": (changed(image_id=lambda one: 77), ["entry 1", "image_id 77", "contradict"]),
    "two own ids of one image": (
        [PERFECT[0] | {"image_id": 77}, PERFECT[0] | {"image_id": 78}],
        ["entry 1", "image_id 78", "contradict"],
    ),
    "classes are swapped": (
        changed(category=lambda one: {"disc": "ring", "ring": "disc", "star": "star"}[one["category"]]),
        ["entry 0", "category_id 3", "category 'ring'", "contradict", "the id 1"],
    ),
    "an unknown file": (
        changed(file_name=lambda one: "val/bb.jpg", image_id=lambda one: None),
        ["entry 0", "file_name 'val/bb.jpg' is not among the 4 images", "the nearest is 'val/b.jpg'"],
    ),
    "a known id with an unknown file": (
        changed(file_name=lambda one: "other/a.jpg")[1:],
        ["entry 0", "file_name 'other/a.jpg' is not among the 4 images", "the nearest is 'train/a.jpg'"],
    ),
    "a file of two folders": (
        changed(file_name=lambda one: "a.jpg", image_id=lambda one: None),
        ["entry 0", "'a.jpg' can be any of the images [1, 5]"],
    ),
    "two files for one image": (
        changed(file_name=lambda one: f"{one['bbox'][2]}/train/a.jpg", image_id=lambda one: None),
        ["entries 0 and 1", "'10/train/a.jpg' and '20/train/a.jpg'", "only one image"],
    ),
    "an unknown class": (
        changed(category=lambda one: "rang"),
        ["entry 0", "category 'rang' is not among the 3 categories", "the nearest is 'ring'"],
    ),
    "a name that is a number": (changed(file_name=lambda one: 7), ["entry 0 has the file_name 7"]),
    "a class that is a number": (changed(category=lambda one: 7), ["entry 0 has the category 7"]),
    "neither name nor id": (
        changed(file_name=lambda one: None, image_id=lambda one: None),
        ["entry 0 has no 'image_id'"],
    ),
}


@pytest.mark.parametrize(("entries", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_and_what_is_unknown_are_refused(average_precision, entries, words):
    with pytest.raises(InputError) as error:
        average_precision(entries)
    assert not [word for word in words if word not in str(error.value)], error.value


@pytest.mark.parametrize("wrong", [True, 1.5, float("inf"), 2.0**60, [1], {"id": 1}, 10**400, "1"], ids=str)
def test_ids_are_whole_numbers_or_texts(average_precision, wrong):
    """True is not image 1, although Python takes them for equal."""
    entries = changed(file_name=lambda one: None, image_id=lambda one: wrong)
    with pytest.raises(InputError, match=r"entry 0: image id .* is not among") as error:
        average_precision(entries)
    assert len(str(error.value)) < 400


def test_annotations_without_file_names_are_joined_by_id(average_precision):
    nameless = ANNOTATIONS | {"images": [{"id": key, "height": 99, "width": 99} for key in IMAGES]}
    assert average_precision(PERFECT, nameless) == 1.0
    with pytest.raises(InputError, match=r"image id 'val/b\.jpg' .* which has no file_name to join by"):
        average_precision(changed(image_id=lambda one: one["file_name"]), nameless)
