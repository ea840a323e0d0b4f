import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from image_files import noise, write_image
from torchvision.datasets import VOCDetection

from detkit.data import DataModule, VocDataset, format_of
from detkit.errors import InputError


def write_annotation(folder: Path, stem: str, size: tuple[int, int], objects: list[dict], **changes) -> Path:
    """One XML file, written with another library than the one that reads it."""
    root = ElementTree.Element("annotation")
    for key, value in {"folder": "any", "filename": f"{stem}.jpg", **changes}.items():
        ElementTree.SubElement(root, key).text = value
    sides = ElementTree.SubElement(root, "size")
    for side, value in zip(("height", "width", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(sides, side).text = str(value)
    for entry in objects:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = entry["name"]
        if "difficult" in entry:
            ElementTree.SubElement(element, "difficult").text = str(entry["difficult"])
        box = ElementTree.SubElement(element, "bndbox")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), entry["box"], strict=True):
            ElementTree.SubElement(box, side).text = str(value)
        part = ElementTree.SubElement(element, "part")
        ElementTree.SubElement(part, "name").text = "head"
    ElementTree.indent(root)
    path = folder / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path)
    return path


def write_set(folder: Path, name: str, stems: list[str]) -> None:
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2007"
    write_annotation(
        root, "000005", (40, 60), [
            {"name": "dog", "box": (1, 1, 60, 40), "difficult": 0},
            {"name": "cat", "box": (11, 21, 20, 22), "difficult": 1},
            {"name": "dog", "box": (45.7, 5, 50.25, 5)},
        ],
    )  # fmt: skip
    write_annotation(root, "000007", (30, 20), [])
    write_annotation(root, "000009", (25, 25), [{"name": "bird", "box": (3, 4, 5, 6), "difficult": 0}])
    for stem, size in {"000005": (40, 60), "000007": (30, 20), "000009": (25, 25)}.items():
        write_image(root / "JPEGImages" / f"{stem}.jpg", noise(*size))
    write_set(root, "train", ["000005", "000007"])
    write_set(root, "val", ["000009"])
    return root


def test_boxes_are_continuous_and_difficulty_is_kept(folder: Path):
    dataset = VocDataset(folder, "train")
    assert [category.name for category in dataset.categories] == ["bird", "cat", "dog"]
    assert dataset.image_ids == ["000005", "000007"]
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert target.image_id == "000005"
    expected = [[0, 0, 60, 40], [10, 20, 20, 22], [44.7, 4, 50.25, 5]]
    assert torch.equal(target.boxes, torch.tensor(expected))
    assert target.labels.tolist() == [2, 1, 2]
    assert target.difficult.tolist() == [False, True, False]
    assert not target.iscrowd.any()
    _, nothing = dataset[1]
    assert len(nothing) == 0
    assert nothing.difficult.shape == (0,)


def test_reads_what_torchvision_reads(folder: Path, tmp_path: Path):
    (tmp_path / "VOCdevkit").mkdir()
    shutil.move(folder, tmp_path / "VOCdevkit" / "VOC2007")
    theirs = VOCDetection(tmp_path, year="2007", image_set="train")
    ours = VocDataset(tmp_path, "train")
    assert len(theirs) == len(ours)
    for index, (their_image, content) in enumerate(theirs):
        image, target = ours[index]
        assert np.array_equal(np.asarray(their_image).shape[:2], image.shape[1:])
        objects = content["annotation"].get("object", [])
        assert [entry["name"] for entry in objects] == [ours.categories[label].name for label in target.labels.tolist()]
        for entry, box in zip(objects, target.boxes.tolist(), strict=True):
            xmin, ymin, xmax, ymax = (float(entry["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
            assert box == pytest.approx([xmin - 1, ymin - 1, xmax, ymax], abs=1e-5)


def test_several_years_are_taken_together(folder: Path):
    other = folder.parent / "VOC2012"
    write_annotation(other, "2008_000002", (10, 10), [{"name": "ant", "box": (1, 1, 4, 4)}])
    write_image(other / "JPEGImages" / "2008_000002.png", noise(10, 10))
    write_set(other, "train", ["2008_000002"])
    both = VocDataset(folder.parent, "train")
    assert both.image_ids == ["VOC2007/000005", "VOC2007/000007", "VOC2012/2008_000002"]
    assert [category.name for category in both.categories] == ["ant", "bird", "cat", "dog"]
    assert both[2][0].shape == (3, 10, 10)
    only = VocDataset(folder.parent, "val")
    assert only.image_ids == ["000009"]
    assert [category.name for category in only.categories] == ["ant", "bird", "cat", "dog"]


def test_names_are_given_or_listed(folder: Path):
    names = ["dog", "cat", "bird", "never seen"]
    assert [category.name for category in VocDataset(folder, "train", names).categories] == names
    (folder / "classes.txt").write_text("\n".join(reversed(names)) + "\n")
    assert [category.name for category in VocDataset(folder, "train").categories] == names[::-1]
    with pytest.raises(InputError, match=r"000005.xml:\d+: the class 'cat' is not among dog"):
        VocDataset(folder, "train", ["dog"])


def test_lists_of_one_class_and_names_with_spaces(folder: Path):
    write_annotation(folder, "a picture 1", (30, 20), [])
    write_image(folder / "JPEGImages" / "a picture 1.jpg", noise(30, 20))
    write_set(folder, "dog_train", ["000005  1", "000007 -1", "a picture 1"])
    assert VocDataset(folder, "dog_train").image_ids == ["000005", "000007", "a picture 1"]


def test_a_size_that_is_not_stated_is_read(folder: Path):
    path = folder / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("<width>60</width>", "<width>0</width>"))
    assert VocDataset(folder, "train").image_sizes.tolist() == [[40, 60], [30, 20]]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<annotation>", "<annotation", ["000005.xml:2", "not XML"]),
        ("annotation", "annotations", ["000005.xml:1", "<annotation>"]),
        ("<xmin>11</xmin>", "<xmin>eleven</xmin>", ["000005.xml:", "xmin"]),
        ("<xmin>11</xmin>", "", ["000005.xml:", "xmin"]),
        ("<xmax>20</xmax>", "<xmax>nan</xmax>", ["000005.xml:", "xmax"]),
        ("<xmax>20</xmax>", "<xmax>9</xmax>", ["000005.xml:", "no area", "on_bad_box skip"]),
        ("<name>cat</name>", "", ["000005.xml:", "class ''"]),
    ],
)
def test_wrong_annotations_are_named(folder: Path, before: str, after: str, words: list[str]):
    path = folder / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(InputError) as error:
        VocDataset(folder, "train")
    assert not [word for word in words if word not in str(error.value)], str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "shift_jis"])
def test_a_file_in_one_line_in_any_declared_encoding(folder: Path, encoding: str):
    path = folder / "Annotations" / "000005.xml"
    text = "".join(line.strip() for line in path.read_text().splitlines()).replace("dog", "犬")
    declaration = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    path.write_bytes((declaration + text).encode(encoding))
    dataset = VocDataset(folder, "train")
    target = dataset.target(0)
    assert [dataset.categories[label].name for label in target.labels] == ["犬", "cat", "犬"]
    assert target.boxes.tolist()[1] == [10, 20, 20, 22]
    ids = [one["id"] for one in dataset.ground_truth()["annotations"]]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<width>60</width>", "<width>NaN</width>", ["000005.xml:", "NaN x 40", "pixels"]),
        ("<width>60</width>", "<width>1e400</width>", ["000005.xml:", "1e400 x 40"]),
        ("<width>60</width>", "<width>1e300</width>", ["000005.xml:", "1e300 x 40"]),
        ("<width>60</width>", "<width>-60</width>", ["000005.xml:", "-60 x 40"]),
        ("<width>60</width>", "<width>60.5</width>", ["000005.xml:", "60.5 x 40"]),
        ("<difficult>1<", "<difficult>maybe<", ["000005.xml:", "<difficult> is 0 or 1", "maybe"]),
        ("<xmin>11</xmin>", "<xmin>1_1</xmin>", ["000005.xml:", "xmin"]),
        ("<xmin>11</xmin>", "<xmin>-1e308</xmin>", ["000005.xml:", "xmin"]),
        ("bndbox", "box", ["000005.xml:", "needs a bndbox"]),
        ("cat", "&c;", ["000005.xml:", "undefined entity"]),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY c "cat">]><annotation>', ["000005.xml:1", "entities"]),
        ("<annotation>", "<annotation>" + "<a>" * 1000 + "</a>" * 1000, ["000005.xml:", "nested too deeply"]),
        ("cat", "caf\udce9", ["000005.xml", "UTF-8"]),
        ("<annotation>", '<?xml version="1.0" encoding="klingon"?><annotation>', ["000005.xml:1", "klingon"]),
    ],
)
def test_values_that_make_no_sense_are_named(folder: Path, before: str, after: str, words: list[str]):
    path = folder / "Annotations" / "000005.xml"
    text = path.read_text().replace("<annotation>", "<annotation>").replace(before, after)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        VocDataset(folder, "train")
    assert not [word for word in words if word not in str(error.value)], str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "difficult"), [("", False), ("0", False), ("1", True), ("true", True), ("No", False)])
def test_flags_are_read_from_text(folder: Path, text: str, difficult: bool):
    path = folder / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("<difficult>1<", f"<difficult>{text}<"))
    assert VocDataset(folder, "train").target(0).difficult.tolist() == [False, difficult, False]


def test_boxes_that_are_none_can_be_left_out(folder: Path, caplog):
    path = folder / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("<xmin>11<", "<xmin>nan<").replace("<xmax>50.25<", "<xmax>3<"))
    dataset = VocDataset(folder, "train", on_bad_box="skip")
    assert dataset.target(0).boxes.tolist() == [[0, 0, 60, 40]]
    assert len(dataset.ground_truth()["annotations"]) == 1
    assert "1 box is wrong" in caplog.text
    assert "1 of 2 boxes" in caplog.text


def test_lists_of_images_are_read_from_any_system(folder: Path):
    path = folder / "ImageSets" / "Main" / "train.txt"
    path.write_bytes("\ufeff\r\n000005\r\n\r\n./000005\r\n 000007 \r\n".encode())
    assert VocDataset(folder, "train").image_ids == ["000005", "000007"]
    for line in ("gone", "/etc/passwd", "../000005", "000005.jpg", "a" * 300):
        path.write_text(f"000005\n\n{line}\n")
        with pytest.raises(InputError, match=r"train\.txt:3: "):
            VocDataset(folder, "train")
    path.write_text("\n\n")
    with pytest.raises(InputError, match=r"train\.txt"):
        VocDataset(folder, "train")


def test_of_two_images_of_a_name_the_file_names_one(folder: Path):
    write_image(folder / "JPEGImages" / "000005.png", noise(40, 60, 3))
    dataset = VocDataset(folder, "train")
    assert dataset.read_image(0).shape == (40, 60, 3)
    assert dataset.ground_truth()["images"][0]["file_name"] == "JPEGImages/000005.jpg"
    path = folder / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("000005.jpg", "other.jpg"))
    with pytest.raises(InputError, match=r"000005.jpg and 000005.png.*<filename>"):
        VocDataset(folder, "train")


def test_a_class_is_listed_once(folder: Path):
    with pytest.raises(InputError, match="'dog' is listed twice"):
        VocDataset(folder, "train", ["dog", "cat", "dog"])


def test_missing_files_are_named(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"no ImageSets/Main/test.txt.*found train, val"):
        VocDataset(folder, "test")
    with pytest.raises(InputError, match="no VOC folder"):
        VocDataset(tmp_path / "nowhere", "test")
    (folder / "JPEGImages" / "000007.jpg").unlink()
    with pytest.raises(InputError, match="1 of 2 image files"):
        VocDataset(folder, "train")
    assert VocDataset(folder, "train", on_bad_image="skip").image_ids == ["000005"]
    (folder / "Annotations" / "000005.xml").unlink()
    (folder / "Annotations" / "000007.xml").unlink()
    with pytest.raises(InputError, match=r"train.txt:1: there is no .*000005.xml.*and 1 other"):
        VocDataset(folder, "train")


def test_from_a_data_module(folder: Path):
    assert format_of(folder) == "voc"
    data = DataModule(folder, batch_size=2, num_workers=0, augmentation=None)
    data.setup("fit")
    assert data.num_classes == 3
    ((images, targets),) = list(data.train_dataloader())
    assert len(images) == len(targets) == 2
    write_set(folder, "trainval", ["000005", "000007", "000009"])
    assert len(DataModule(folder, train_split="trainval").train_dataset) == 3
    with pytest.raises(InputError, match="no keypoints"):
        _ = DataModule(folder, reads=["keypoints"]).train_dataset


def test_ground_truth_holds_the_same_boxes(folder: Path):
    truth = VocDataset(folder, "train").ground_truth()
    assert [one["difficult"] for one in truth["annotations"]] == [0, 1, 0]
    assert truth["annotations"][1]["bbox"] == [10, 20, 10, 2]
    assert [image["id"] for image in truth["images"]] == ["000005", "000007"]
