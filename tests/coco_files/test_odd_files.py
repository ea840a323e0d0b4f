"""Odd COCO files: the data set and the evaluator read equal objects, or refuse the file with the same sentence.

Each file is read three ways: by `CocoDataset`, by the evaluator from the file, and by the evaluator from its content.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image

from detkit.data import CocoDataset
from detkit.data.formats.coco_faults import read_coco_with_faults
from detkit.errors import InputError
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.ops import RunLengths, rle_to_masks

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
OBJECT = {"box": [10, 10, 30, 30], "area": 400, "mask": 400, "iscrowd": False, "difficult": False, "category": 3}
IMAGE = {"id": 10, "file_name": "a.png", "height": 40, "width": 60}
GONE = object()
RUNS = [10 * 40 + 10, *[20, 20] * 19, 20, 40 * 60 - 29 * 40 - 30]


def write(folder: Path, annotation: dict, image: dict, category: dict, **lists) -> Path:
    def changed(entry: dict, change: dict) -> dict:
        return {key: value for key, value in (entry | change).items() if value is not GONE}

    own = {"id": 1, "image_id": 10, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
    content = {
        "images": [changed(IMAGE, image)],
        "annotations": [changed(own | {"segmentation": [SQUARE]}, annotation)],
        "categories": [changed({"id": 3, "name": "three"}, category)],
    }
    write_image(folder / "a.png", noise(40, 60))
    path = folder / "a.json"
    path.write_text(json.dumps(content | lists))
    return path


def in_data_set(path: Path) -> list[dict]:
    dataset = CocoDataset(path.parent, path, reads=["masks"])
    target = dataset.target(0)
    return [
        {
            "box": target.boxes[row].tolist(),
            "area": float(target.area[row]),
            "mask": int(target.masks[row].sum()),
            "iscrowd": bool(target.iscrowd[row]),
            "difficult": target.difficult is not None and bool(target.difficult[row]),
            "category": dataset.categories[int(target.labels[row])].id,
        }
        for row in range(len(target))
    ]


def in_evaluation(given: Path | dict) -> list[dict]:
    truth = read_ground_truth(given, "segm")
    own = truth.objects
    boxes = np.concatenate([own.boxes[:, :2], own.boxes[:, :2] + own.boxes[:, 2:]], axis=1)
    return [
        {
            "box": boxes[row].tolist(),
            "area": float(own.areas[row]),
            "mask": int(rle_to_masks(RunLengths.from_coco([own.masks.encoded(row)])).sum()),
            "iscrowd": bool(own.iscrowd[row]),
            "difficult": bool(own.difficult[row]),
            "category": truth.categories[own.categories[row]].id,
        }
        for row in range(len(own))
    ]


A = "annotation"
READ = {
    "nothing odd": ({}, {}),
    "no area": ({A: {"area": GONE}}, {}),
    "area null": ({A: {"area": None}}, {}),
    "area of a triangle": ({A: {"area": GONE, "segmentation": [[10, 10, 30, 10, 30, 30]]}}, {"area": 190, "mask": 190}),
    "area and mask missing": ({A: {"area": GONE, "segmentation": GONE}}, "no masks"),
    "area missing, RLE": ({A: {"area": GONE, "segmentation": {"size": [40, 60], "counts": RUNS}}}, {}),
    "area missing, no size": ({A: {"area": GONE}, "image": {"height": GONE, "width": GONE}}, "no size"),
    "area that differs from the box": ({A: {"area": 123.5}}, {"area": 123.5}),
    "no box": ({A: {"bbox": GONE}}, {}),
    "box null": ({A: {"bbox": None}}, {}),
    "box empty": ({A: {"bbox": []}}, {}),
    "no box, two polygons": (
        {A: {"bbox": GONE, "segmentation": [SQUARE, [40, 5, 50, 5, 50, 12, 40, 12]]}},
        {"box": [10, 5, 50, 30], "mask": 470},
    ),
    "no box, RLE": ({A: {"bbox": GONE, "segmentation": {"size": [40, 60], "counts": RUNS}}}, {}),
    "no box, fractions": (
        {A: {"bbox": GONE, "segmentation": [[10.25, 10.5, 30.75, 10.5, 30.75, 30.5, 10.25, 30.5]]}},
        {"box": [10.25, 10.5, 30.75, 30.5], "mask": 420},
    ),
    "box and area missing": ({A: {"bbox": GONE, "area": GONE}}, {}),
    "no iscrowd": ({A: {"iscrowd": GONE}}, {}),
    "iscrowd null": ({A: {"iscrowd": None}}, {}),
    "iscrowd true": ({A: {"iscrowd": True}}, {"iscrowd": True}),
    "iscrowd false": ({A: {"iscrowd": False}}, {}),
    "iscrowd 1.0": ({A: {"iscrowd": 1.0}}, {"iscrowd": True}),
    "iscrowd 0.0": ({A: {"iscrowd": 0.0}}, {}),
    "ignore": ({A: {"ignore": 1}}, {"iscrowd": True}),
    "ignore without iscrowd": ({A: {"ignore": True, "iscrowd": GONE}}, {"iscrowd": True}),
    "ignore 0": ({A: {"ignore": 0, "iscrowd": 1}}, {"iscrowd": True}),
    "difficult": ({A: {"difficult": 1}}, {"difficult": True}),
    "mask null": ({A: {"segmentation": None}}, "no masks"),
    "mask empty": ({A: {"segmentation": []}}, "no masks"),
    "a polygon of two points": ({A: {"segmentation": [[10, 10, 30, 30]]}}, "no masks"),
    "a polygon of two points and a whole one": ({A: {"segmentation": [[10, 10, 30, 30], SQUARE]}}, {}),
    "RLE of whole floats": ({A: {"segmentation": {"size": [40.0, 60], "counts": [float(one) for one in RUNS]}}}, {}),
    "ids as whole floats": ({A: {"image_id": 10.0, "category_id": 3.0, "id": 1.0}}, {}),
    "text ids": ({A: {"image_id": "ten", "id": "a"}, "image": {"id": "ten"}}, {}),
    "text ids of digits": ({A: {"image_id": "10"}, "image": {"id": "10"}}, {}),
    "annotation without id": ({A: {"id": GONE}}, {}),
    "largest ids": ({A: {"image_id": 2**63 - 1}, "image": {"id": 2**63 - 1}}, {}),
    "smallest ids": ({A: {"image_id": -(2**63)}, "image": {"id": -(2**63)}}, {}),
    "size as whole floats": ({"image": {"height": 40.0, "width": 60.0}}, {}),
    "category without name": ({"category": {"name": GONE}}, {}),
    "category whose name is a number": ({"category": {"name": 3}}, {}),
    "keys that nobody knows": ({A: {"attributes": {"occluded": [None]}, "track": "x"}}, {}),
}
"""What is changed, and what is other than in `OBJECT`."""


@pytest.mark.parametrize(("change", "other"), READ.values(), ids=READ)
def test_equal_objects(tmp_path, change, other):
    path = write(tmp_path, **{"annotation": {}, "image": {}, "category": {}} | change)
    result = in_data_set(path)
    if other == "no masks":  # of any object: there is nothing to evaluate, but much to train on
        assert result == [OBJECT]
        with pytest.raises(InputError, match="has no segmentations, so masks cannot be evaluated"):
            in_evaluation(path)
        return
    if other == "no size":  # the evaluator has no image file to ask
        assert result == [OBJECT]
        with pytest.raises(InputError, match="polygons need the height and width of the image"):
            in_evaluation(path)
        return
    assert result == [OBJECT | other]
    assert in_evaluation(path) == result
    assert in_evaluation(json.loads(path.read_text())) == result


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(tmp_path, encoding):
    path = write(tmp_path, {}, {}, {"name": "Größe"})
    path.write_bytes(json.dumps(json.loads(path.read_text()), ensure_ascii=False).encode(encoding))
    assert in_data_set(path) == in_evaluation(path) == [OBJECT]
    assert CocoDataset(tmp_path, path).categories[0].name == "Größe"


NO_FLAG = "annotation 1 of image 10 has {} {}; it must be 0, 1, true or false"
BAD_BOX = "annotation 1 of image 10 has bbox {}; it must be four finite numbers: x, y, width, height"
BAD_NUMBER = "{} has {} {}, which is not a finite number; correct it or leave it out"
BAD_ID = "{} has {} {}; an id is an integer of at most 64 bits or a string"
BAD_SIZE = "image 10 has width {} and height {}, not whole pixels of an image below 2^31 pixels, with"
BAD_MASK = "annotation 1 of image 10 has no usable segmentation: {}"
NAN = float("nan")


def rle(counts, size=(40, 60)) -> dict:
    return {A: {"segmentation": {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}}}


def polygons(*rings) -> dict:
    return {A: {"segmentation": list(rings)}}


def unknown(key: str, value: str) -> str:
    known = {"image_id": 10, "category_id": 3}[key]
    return f"annotation 1 refers to {key} {value}, which the file does not have (its ids are {known}); correct the ids"


DEEP = json.loads("[" * 50 + "]" * 50)
REFUSED = {
    **{
        f"{flag} {value!r}": ({A: {flag: value}}, NO_FLAG.format(flag, repr(value)))
        for flag in ("iscrowd", "ignore", "difficult")
        for value in ("0", "1", "", "false", 2, -1, 0.5, [], [0], {}, 10**400 if flag == "ignore" else 7)
        if value != 10**400
    },
    "iscrowd NaN": ({A: {"iscrowd": NAN}}, NO_FLAG.format("iscrowd", "nan")),
    "isthing in words": ({"category": {"isthing": "0"}}, "category 3 has isthing '0'; it must be 0, 1, true or false"),
    "image of one long row": (
        {"image": {"width": 2**31 - 1, "height": 1}} | {A: {"segmentation": [[0, 0, 2e8, 0, 2e8, 1]]}},
        BAD_SIZE.format(2**31 - 1, 1),
    ),
    "box of 3 numbers": ({A: {"bbox": [1, 2, 3]}}, BAD_BOX.format("[1, 2, 3]")),
    "box of 5 numbers": ({A: {"bbox": [1, 2, 3, 4, 5]}}, BAD_BOX.format("[1, 2, 3, 4, 5]")),
    "box of words": ({A: {"bbox": ["1", 2, 3, 4]}}, BAD_BOX.format("['1', 2, 3, 4]")),
    "box of truths": ({A: {"bbox": [True, 2, 3, 4]}}, BAD_BOX.format("[True, 2, 3, 4]")),
    "box with null": ({A: {"bbox": [None, 2, 3, 4]}}, BAD_BOX.format("[None, 2, 3, 4]")),
    "box with NaN": ({A: {"bbox": [NAN, 2, 3, 4]}}, BAD_BOX.format("[nan, 2, 3, 4]")),
    "box all NaN": ({A: {"bbox": [NAN] * 4}}, BAD_BOX.format("[nan, nan, nan, nan]")),
    "box infinite": ({A: {"bbox": [1, 2, float("inf"), 4]}}, BAD_BOX.format("[1, 2, inf, 4]")),
    "box beyond reason": ({A: {"bbox": [1, 2, 1e300, 4]}}, BAD_BOX.format("[1, 2, 1e+300, 4]")),
    "box of 400 digits": ({A: {"bbox": [10**400, 2, 3, 4]}}, "annotation 1 of image 10 has bbox [1000"),
    "box a number": ({A: {"bbox": 5}}, BAD_BOX.format("5")),
    "box zero": ({A: {"bbox": 0}}, BAD_BOX.format("0")),
    "box text": ({A: {"bbox": "1234"}}, BAD_BOX.format("'1234'")),
    "box an object": ({A: {"bbox": {"x": 1, "y": 2, "w": 3, "h": 4}}}, "annotation 1 of image 10 has bbox {'x': 1"),
    "box nested": ({A: {"bbox": [[1, 2, 3, 4]]}}, BAD_BOX.format("[[1, 2, 3, 4]]")),
    "no box and no mask": ({A: {"bbox": GONE, "segmentation": GONE}}, "annotation 1 of image 10 has bbox None and no"),
    "box of negative width": (
        {A: {"bbox": [30, 10, -20, 20]}},
        "1 of 1 boxes have no area or lie outside their image (first: annotation 1 of image 10, bbox [30.0, 10.0, "
        "-20.0, 20.0]); correct them",
    ),
    "area text": ({A: {"area": "400"}}, BAD_NUMBER.format("annotation 1 of image 10", "area", "'400'")),
    "area truth": ({A: {"area": True}}, BAD_NUMBER.format("annotation 1 of image 10", "area", "True")),
    "area NaN": ({A: {"area": NAN}}, BAD_NUMBER.format("annotation 1 of image 10", "area", "nan")),
    "area negative": ({A: {"area": -4}}, "annotation 1 of image 10 has area -4; give a number of square pixels"),
    "area a list": ({A: {"area": [400]}}, BAD_NUMBER.format("annotation 1 of image 10", "area", "[400]")),
    "image id unknown": ({A: {"image_id": 11}}, unknown("image_id", "11")),
    "image id text": ({A: {"image_id": "10"}}, unknown("image_id", "'10'")),
    "category id unknown": ({A: {"category_id": 4}}, unknown("category_id", "4")),
    "category id text": ({A: {"category_id": "3"}}, unknown("category_id", "'3'")),
    "no image id": ({A: {"image_id": GONE}}, "annotation 1 has no 'image_id'; add it to the file"),
    "category id null": ({A: {"category_id": None}}, "annotation 1 has no 'category_id'; add it to the file"),
    "image id a truth": ({A: {"image_id": True}}, BAD_ID.format("annotation 1 of image True", "image_id", "True")),
    "image id a list": ({A: {"image_id": [10]}}, BAD_ID.format("annotation 1 of image [10]", "image_id", "[10]")),
    "image id a fraction": ({A: {"image_id": 10.5}}, BAD_ID.format("annotation 1 of image 10.5", "image_id", "10.5")),
    "id a list": ({A: {"id": [1]}}, BAD_ID.format("annotation [1] of image 10", "id", "[1]")),
    "id of 400 digits": ({A: {"id": 10**400}}, "; an id is an integer of at most 64 bits or a string"),
    "images' id of 65 bits": ({"image": {"id": 2**63}}, BAD_ID.format(f"image {2**63}", "id", str(2**63))),
    "images' id an object": ({"image": {"id": {}}}, BAD_ID.format("image {}", "id", "{}")),
    "images' id null": ({"image": {"id": None}}, "images[0] has no 'id'; add it to the file"),
    "images' ids of two kinds": (
        {"images": [IMAGE, IMAGE | {"id": "10"}]},
        "image ids must be all integers or all strings, found ['int', 'str']",
    ),
    "images' id twice": ({"images": [IMAGE, IMAGE]}, "image id 10 is used twice; give every image its own id"),
    "category's id text": ({"category": {"id": "3"}}, "categories[0] needs an integer 'id' and a 'name'"),
    "category's id a truth": ({"category": {"id": True}}, BAD_ID.format("category True", "id", "True")),
    "category's name a list": ({"category": {"name": ["a"]}}, "categories[0] needs an integer 'id' and a 'name'"),
    "category's id twice": ({"categories": [{"id": 3, "name": "a"}] * 2}, "category id 3 is used twice"),
    "annotation's id twice": (
        {"annotations": [{"id": 1, "image_id": 10, "category_id": 3, "bbox": [1, 1, 2, 2]}] * 2},
        "annotation id 1 is used twice; give every annotation its own id",
    ),
    "no images": ({"images": []}, "the list 'images' is empty, so there is nothing to train on or to evaluate"),
    "no categories": ({"categories": []}, "the list 'categories' is empty, so there is nothing to detect"),
    "images null": ({"images": None}, "the list 'images' is missing; a COCO file has images, annotations and"),
    "annotations an object": ({"annotations": {}}, "the list 'annotations' is missing"),
    "an annotation in words": ({"annotations": ["x"]}, "annotations[0] is a str, not an object"),
    "width text": ({"image": {"width": "60"}}, BAD_NUMBER.format("image 10", "width", "'60'")),
    "width NaN": ({"image": {"width": NAN}}, BAD_NUMBER.format("image 10", "width", "nan")),
    "width infinite": ({"image": {"width": float("inf")}}, BAD_NUMBER.format("image 10", "width", "inf")),
    "width a list": ({"image": {"width": [60]}}, BAD_NUMBER.format("image 10", "width", "[60]")),
    "width truth": ({"image": {"width": True}}, BAD_NUMBER.format("image 10", "width", "True")),
    "width negative": ({"image": {"width": -60}}, BAD_SIZE.format("-60", "40")),
    "width a fraction": ({"image": {"width": 60.5}}, BAD_SIZE.format("60.5", "40")),
    "a huge image": ({"image": {"width": 10**9, "height": 10**9}}, BAD_SIZE.format(10**9, 10**9)),
    "polygon of 7 numbers": (
        polygons([1, 2, 3, 4, 5, 6, 7]),
        BAD_MASK.format("[[1, 2, 3, 4, 5, 6, 7]] is no list of polygons, each of finite x1, y1, x2, y2, …; correct"),
    ),
    "polygon flat": ({A: {"segmentation": SQUARE}}, BAD_MASK.format("[10, 10, 30")),
    "polygon with null": (polygons([1, 2, 3, 4, 5, None]), BAD_MASK.format("[[1, 2, 3, 4, 5, None]] is no list")),
    "polygon with NaN": (polygons([1, 2, 3, 4, 5, NAN]), BAD_MASK.format("[[1, 2, 3, 4, 5, nan]] is no list")),
    "polygon with 1e300": (polygons([1, 2, 3, 4, 5, 1e300]), BAD_MASK.format("[[1, 2, 3, 4, 5, 1e+300]] is no list")),
    "polygon with 1e9": (polygons([1, 2, 3, 4, 5, 1e9]), BAD_MASK.format("[[1, 2, 3, 4, 5, 1000000000.0]] is no list")),
    "polygon with text": (polygons([1, 2, 3, 4, 5, "6"]), BAD_MASK.format("[[1, 2, 3, 4, 5, '6']] is no list")),
    "polygon with truth": (polygons([1, 2, 3, 4, 5, True]), BAD_MASK.format("[[1, 2, 3, 4, 5, True]] is no list")),
    "polygon of 400 digits": (polygons([1, 2, 3, 4, 5, 10**400]), BAD_MASK.format("[[1, 2, 3, 4, 5, 1000")),
    "polygon of points": (polygons([[1, 2], [3, 4], [5, 6]]), BAD_MASK.format("[[[1, 2], [3, 4], [5, 6]]] is no list")),
    "polygon deep": ({A: {"segmentation": DEEP}}, BAD_MASK.format("[[[[")),
    "mask text": ({A: {"segmentation": "all"}}, BAD_MASK.format("'all' is neither a list of polygons")),
    "mask a number": ({A: {"segmentation": 5}}, BAD_MASK.format("5 is neither a list of polygons")),
    "RLE without size": ({A: {"segmentation": {"counts": [2400]}}}, BAD_MASK.format("{'counts': [2400]} is neither")),
    "RLE of another size": (
        rle([2400], (60, 40)),
        BAD_MASK.format("its size [60, 40] is not the image's [40, 60] (height, width)"),
    ),
    "RLE of size text": (rle([2400], ["40", 60]), BAD_MASK.format("its size ['40', 60] is no height and width")),
    "RLE of size null": (rle([2400], None), BAD_MASK.format("its size None is no height and width in pixels")),
    "RLE of huge size": (rle([2400], (10**9, 10**9)), BAD_MASK.format("its size [1000000000, 1000000000] is no")),
    "RLE of size fraction": (rle([2400], (40.5, 60)), BAD_MASK.format("its size [40.5, 60] is no height")),
    "RLE of half a pixel": (rle([1199.5, 1200.5]), BAD_MASK.format("its run lengths [1199.5, 1200.5] are negative or")),
    "RLE negative": (rle([-1, 2401]), BAD_MASK.format("its run lengths [-1, 2401] are negative or no whole")),
    "RLE too short": (rle([5, 6]), BAD_MASK.format("its runs sum to 11, but 40 x 60 pixels are 2400")),
    "RLE too long": (rle([5000, 3]), BAD_MASK.format("its runs sum to 5000 or more, but 40 x 60 pixels are 2400")),
    "RLE without runs": (rle([]), BAD_MASK.format("its runs sum to 0, but")),
    "RLE of null": (rle([None, 2400]), BAD_MASK.format("its run lengths [None, 2400] are negative or no whole")),
    "RLE counts null": (rle(None), BAD_MASK.format("its counts None are neither text nor a list of run lengths")),
    "RLE string cut": (rle("abc"), BAD_MASK.format("it ends within a number")),
    "RLE string beyond ASCII": (rle("é"), BAD_MASK.format("its character 0 is none of '0' to 'o'")),
}
"""What is changed, and what is said after the path."""


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_the_same_sentence(tmp_path, change, message):
    path = write(tmp_path, **{"annotation": {}, "image": {}, "category": {}} | change)
    said = []
    for read in (
        lambda: in_data_set(path),
        lambda: in_evaluation(path),
        lambda: in_evaluation(json.loads(path.read_text())),
    ):
        with pytest.raises(InputError) as caught:
            read()
        said.append(str(caught.value))
    assert said[0] == said[1] == said[2].replace("annotations: ", f"{path}: ", 1)
    assert message in said[0]
    assert said[0].startswith(f"{path}: ")
    assert len(said[0].splitlines()) == 1
    assert len(said[0]) < len(str(path)) + 700


# Run lengths are not converted, and boxes are judged by the size of the image file.
CONVERTED = [change for name, (change, said) in REFUSED.items() if "RLE" not in name and "boxes have" not in said]


@pytest.mark.parametrize("change", CONVERTED)
def test_conversion_says_the_same_sentence(tmp_path, change):
    path = write(tmp_path, **{"annotation": {}, "image": {}, "category": {}} | change)
    with pytest.raises(InputError) as caught:
        in_data_set(path)
    said = str(caught.value)
    problems = []
    try:
        read_coco_with_faults(path, problems, with_masks=True)
    except InputError as error:
        problems.append(str(error))
    assert problems[:1] == [said]


@pytest.mark.parametrize("number", [1e16, -1, 0.5, "2", True, NAN])
def test_numbers_of_keypoints_are_checked_in_training_too(tmp_path, number):
    change = {"keypoints": [12, 12, 2, 14, 14, 1], "num_keypoints": number}
    path = write(tmp_path, change, {}, {"keypoints": ["nose", "tail"]})
    said = []
    for read in (
        lambda: CocoDataset(tmp_path, path, reads=["keypoints"]),
        lambda: read_ground_truth(path, "keypoints"),
    ):
        with pytest.raises(InputError) as caught:
            read()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{path}: annotation 1 of image 10 has num_keypoints {number!r}"[:-2])


# What two readers of JSON could take for different values, and a reader in native code for ordinary ones.
MISLEADING = {
    "id true": ({"id": True}, {}, {}),
    "id false": ({"id": False}, {}, {}),
    "name of half a character": ({}, {}, {"name": "\ud800"}),
    "name of two lines": ({}, {}, {"name": "a\nb"}),
    "width beyond reason beside no height": ({}, {"width": 1e300, "height": GONE}, {}),
}


@pytest.mark.parametrize("changes", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_the_fast_reader_refuses_what_the_other_does(tmp_path, changes, iou_type):
    path = write(tmp_path, *changes)
    for given in (path, json.loads(path.read_text())):
        with pytest.raises(InputError):
            read_ground_truth(given, iou_type)
    with pytest.raises(InputError):
        CocoDataset(tmp_path, path)


def test_categories_of_keypoints_that_are_called_by_numbers(tmp_path):
    keypoints = {"keypoints": [12, 12, 2, 14, 14, 1], "num_keypoints": 2}
    sigmas = {"name": 4, "keypoints": ["nose", "tail"], "sigmas": [0.1, 0.2]}
    path = write(tmp_path, keypoints, {}, sigmas)
    for given in (path, json.loads(path.read_text())):
        (category,) = read_ground_truth(given, "keypoints").categories
        assert (category.name, category.sigmas) == ("4", (0.1, 0.2))


BROKEN = {"empty": b"", "cut": b'{"images": [', "no UTF-8": b'{"a": "\xff"}', "half of UTF-16": b"\xff\xfe\x00",
          "deep": b"[" * 100_000, "5000 digits": b'{"images": [' + b"1" * 5000 + b"]}", "a list": b"[1]"}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused_with_the_same_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    said = []
    for read in (in_data_set, in_evaluation):
        with pytest.raises(InputError) as caught:
            read(path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{path}: ")


def test_ids_beyond_64_bits_do_not_merge(tmp_path):
    """numpy makes floats of such numbers beside negative ones: 2^63 and 2^63 + 1 become one."""
    images = [IMAGE | {"id": one} for one in (-1, 2**63, 2**63 + 1)]
    path = write(tmp_path, {}, {}, {}, images=images)
    for read in (in_data_set, in_evaluation):
        with pytest.raises(InputError, match=f"image {2**63} has id"):
            read(path)


def test_a_file_without_annotations_is_read(tmp_path):
    """What cannot be measured then is said by the evaluators."""
    path = write(tmp_path, {}, {}, {}, annotations=[])
    for given in (path, json.loads(path.read_text())):
        assert len(read_ground_truth(given, "bbox").objects) == 0
    assert len(CocoDataset(tmp_path, path).target(0)) == 0


def test_ignore_is_said_to_differ_from_pycocotools(tmp_path, caplog):
    path = write(tmp_path, {"ignore": 1}, {}, {})
    for given in (path, json.loads(path.read_text())):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            read_ground_truth(given, "bbox")
        assert "1 objects have 'ignore' set" in caplog.text


def test_several_broken_references_are_counted(tmp_path):
    own = {"image_id": 10, "category_id": 3, "bbox": [1, 1, 5, 5], "area": 25}
    entries = [own | {"id": row, "category_id": 3 if row % 2 else 7} for row in range(9)]
    path = write(tmp_path, {}, {}, {}, annotations=entries)
    for read in (in_data_set, in_evaluation):
        with pytest.raises(InputError, match=r"annotation 0 refers to category_id 7,.*\(5 of 9 annotations"):
            read(path)
