"""Conversions of random data sets with unusual names: whatever the way, the same comes back."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import noise, write_image

from detkit.data.conversion import convert

# What people name classes and files, and what YAML, XML, lists and splitting into lines could take for something else.
ODD = ["no", "null", "1e3", "007", "0x1F", "~", "- a", "a: b", "# a", "'a", '"', "&amp;", "<a>", "]]>", "C:\\a", "%20"]
LETTERS = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"))
NAMES = st.one_of(st.sampled_from(ODD), st.text(LETTERS, min_size=1, max_size=12))
CLASSES = st.lists(NAMES.filter(lambda name: name == name.strip()), min_size=1, max_size=4, unique=True)
IN_FILE_NAMES = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="/\\\0")
STEMS = st.text(IN_FILE_NAMES, min_size=1, max_size=12)
SIDES = st.integers(1, 40)


@st.composite
def data_sets(draw):
    """Class names, and for each image its file name, its size and its objects as (label, x, y, width, height)."""
    names, images = draw(CLASSES), []
    for stem in draw(st.lists(STEMS.filter(_is_plain), min_size=1, max_size=4, unique_by=str.casefold)):
        height, width, objects = draw(SIDES), draw(SIDES), []
        for _ in range(draw(st.integers(0, 3))):
            x, y = (draw(st.integers(0, 1000 * side - 1)) / 1000 for side in (width, height))
            w, h = (draw(st.integers(1, round(1000 * (side - at)))) / 1000 for side, at in ((width, x), (height, y)))
            objects.append((draw(st.integers(0, len(names) - 1)), x, y, w, h))
        images.append((f"{stem}.png", (height, width), objects))
    return names, images


def _is_plain(stem):
    return stem == stem.strip() and not stem.startswith((".", "~")) and not stem.endswith(".")


@pytest.mark.parametrize("way", [("voc",), ("yolo",), ("voc", "yolo"), ("yolo", "voc")])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=data_sets())
def test_whatever_the_way_the_same_comes_back(tmp_path_factory, way, data):
    names, images = data
    folder = tmp_path_factory.mktemp("way")
    _write_coco(folder / "0", names, images)
    for step, to in enumerate((*way, "coco"), start=1):
        assert convert(folder / str(step - 1), folder / str(step), to).problems == []
    content = json.loads((folder / str(step) / "annotations" / "instances_train.json").read_text("utf-8"))
    assert [category["name"] for category in content["categories"]] == names
    file_of = {image["id"]: image["file_name"] for image in content["images"]}
    labels = {category["id"]: label for label, category in enumerate(content["categories"])}
    boxes = {name: [] for name in file_of.values()}
    for one in content["annotations"]:
        boxes[file_of[one["image_id"]]].append((labels[one["category_id"]], *one["bbox"]))
    assert boxes.keys() == {name for name, *_ in images}
    assert {image["file_name"]: (image["height"], image["width"]) for image in content["images"]} == {
        name: size for name, size, _ in images
    }
    for name, _, objects in images:
        assert boxes[name] == [pytest.approx(expected, abs=2e-6) for expected in objects]


def _write_coco(root: Path, names, images):
    entries, annotations = [], []
    for number, (name, (height, width), objects) in enumerate(images):
        write_image(root / "images" / "train" / name, noise(height, width, number))
        entries.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations += [
            {"id": len(annotations) + k, "image_id": number, "category_id": label + 1, "bbox": box}
            for k, (label, *box) in enumerate(objects)
        ]
    if not annotations:  # a data set without a single object is refused
        annotations.append({"id": 0, "image_id": 0, "category_id": 1, "bbox": [0, 0, 1, 1]})
        images[0][2].append((0, 0, 0, 1, 1))
    (root / "annotations").mkdir()
    content = {"images": entries, "annotations": annotations}
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_other_systems_are_read(tmp_path, newline, mark):
    """Line ends of Windows, a byte order mark, blank lines and no line end at the end."""
    _write_coco(tmp_path / "0", ["cat", "dog"], [("a.png", (20, 30), [(1, 3, 4, 5, 6), (0, 1, 1, 9, 9)])])
    lists = {"yolo": ["labels/train/a.txt", "data.yaml"], "voc": ["classes.txt", "ImageSets/Main/train.txt"]}
    lists["voc"].append("Annotations/a.xml")
    for to, files in lists.items():
        convert(tmp_path / "0", tmp_path / to, to)
        for name in files:
            path = tmp_path / to / name
            text = path.read_text("utf-8").rstrip("\n").replace("\n", newline)
            blank = "" if name.endswith("xml") else newline + newline
            path.write_bytes((mark + blank + text + blank + ("" if name.endswith("xml") else " ")).encode())
        convert(tmp_path / to, tmp_path / f"{to} back", "coco")
        content = json.loads((tmp_path / f"{to} back" / "annotations" / "instances_train.json").read_text())
        assert [category["name"] for category in content["categories"]] == ["cat", "dog"]
        assert [one["bbox"] for one in content["annotations"]] == [[3, 4, 5, 6], [1, 1, 9, 9]]
