"""Conversions, read back by programs of the tests' own as well as by detkit's."""

import itertools
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from image_files import noise, write_image
from PIL import Image

from detkit.data import CocoDataset, ShapesOptions, VocDataset, YoloDataset, draw_shapes, find_split, open_split
from detkit.data.conversion import convert
from detkit.errors import InputError

NAMES = ["cat", "café & <dog>", "never seen"]
SIZES = {"train": [(40, 61), (333, 77), (20, 20)], "val": [(55, 23)]}


def write_coco(root: Path, random: np.random.Generator, decimals: int | None, **changes) -> dict[str, list]:
    """A COCO folder with ids of its own; returns by split (file stem, name, box, difficult) of each object."""
    expected = {}
    for split, sizes in SIZES.items():
        images, annotations, expected[split] = [], [], []
        for number, (height, width) in enumerate(sizes):
            stem = f"a picture {number}"
            write_image(root / "images" / split / f"{stem}.png", noise(height, width, number))
            images.append({"id": 100 - number, "file_name": f"{stem}.png", "height": height, "width": width})
            for _ in range(random.integers(0, 6) if number else 5):
                x, w = np.sort(random.uniform(0, width, 2))
                y, h = np.sort(random.uniform(0, height, 2))
                box = (
                    [x, y, w - x + 0.01, h - y + 0.01] if decimals else [int(x), int(y), int(w - x) + 1, int(h - y) + 1]
                )
                box = [float(round(value, decimals)) if decimals else value for value in box]
                box[2:] = min(box[2], width - box[0]), min(box[3], height - box[1])
                label, difficult = int(random.integers(2)), int(random.integers(2))
                annotations.append(
                    {"id": len(annotations) + 7, "image_id": 100 - number, "category_id": [3, 9][label], "bbox": box}
                    | {"difficult": difficult}
                )
                expected[split].append((stem, NAMES[label], box, difficult))
        categories = [{"id": key, "name": name} for key, name in zip((12, 9, 3), NAMES[::-1], strict=True)]
        content = {"images": images, "annotations": annotations, "categories": categories, **changes}
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return expected


def read_coco_file(root: Path, split: str) -> tuple[list, list[str]]:
    content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    stems = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    for image in content["images"]:
        pixels = cv2.imread(str(root / "images" / split / image["file_name"]))
        assert pixels.shape[:2] == (image["height"], image["width"])
    objects = [
        (stems[one["image_id"]], names[one["category_id"]], one["bbox"], one.get("difficult"))
        for one in content["annotations"]
    ]
    return objects, [names[key] for key in sorted(names)]


def read_voc_files(root: Path, split: str) -> tuple[list, list[str]]:
    objects = []
    for stem in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().splitlines():
        tree = ElementTree.parse(root / "Annotations" / f"{stem}.xml")
        assert (root / "JPEGImages" / tree.findtext("filename")).is_file()
        for element in tree.findall("object"):
            x1, y1, x2, y2 = (float(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            objects.append((stem, element.findtext("name"), box, int(element.findtext("difficult"))))
    return objects, (root / "classes.txt").read_text().splitlines()


def read_yolo_files(root: Path, split: str) -> tuple[list, list[str]]:
    content = yaml.safe_load((root / "data.yaml").read_text())
    assert content["nc"] == len(content["names"])
    objects = []
    for image in sorted((root / content[split]).iterdir()):
        height, width = cv2.imread(str(image)).shape[:2]
        labels = Path(str(image.parent).replace("images", "labels")) / f"{image.stem}.txt"
        for line in labels.read_text().splitlines():
            label, *values = line.split()
            x, y, w, h = (float(value) * side for value, side in zip(values, (width, height) * 2, strict=True))
            objects.append((image.stem, content["names"][int(label)], [x - w / 2, y - h / 2, w, h], None))
    return objects, content["names"]


READERS = {"coco": read_coco_file, "voc": read_voc_files, "yolo": read_yolo_files}


def assert_same(result: list, expected: list, precision: float, with_difficult: bool) -> None:
    result, expected = (sorted(objects, key=lambda one: one[0]) for objects in (result, expected))
    assert [one[:2] for one in result] == [one[:2] for one in expected]
    if with_difficult:
        assert [one[3] for one in result] == [one[3] for one in expected]
    boxes, others = (np.array([one[2] for one in objects]).reshape(-1, 4) for objects in (result, expected))
    np.testing.assert_allclose(boxes, others, rtol=0, atol=precision)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [None, 4, 15])
@pytest.mark.parametrize("path", [("voc", "coco"), ("yolo", "coco"), ("voc", "yolo", "coco"), ("yolo", "voc", "coco")])
def test_boxes_survive_any_way_there_and_back(tmp_path: Path, path: tuple[str, ...], decimals: int | None, seed: int):
    expected = write_coco(tmp_path / "0", np.random.default_rng([seed, decimals or 0]), decimals)
    names, shares = sorted(NAMES, key=lambda name: [3, 9, 12][NAMES.index(name)]), {}
    for step, to in enumerate(path, start=1):
        done = convert(tmp_path / str(step - 1), tmp_path / str(step), to)
        assert done.problems == []
        assert done.boxes == {split: len(objects) for split, objects in expected.items()}
        for split, objects in expected.items():
            result, found_names = READERS[to](tmp_path / str(step), split)
            assert found_names == names
            if "voc" in path:  # whose images share one folder
                shares = {f"{split}_{one[0]}": one[0] for one in objects}
            result = [(shares.get(stem, stem), *rest) for stem, *rest in result]
            precision = 2e-6 * step if decimals == 15 else 1e-9
            if to == "yolo":
                precision = 2e-6
            kept = "yolo" not in path[:step]
            assert_same(result, objects, precision, kept)
    assert done.losses == []


@pytest.mark.parametrize("decimals", [None, 4])
def test_coco_comes_back_digit_for_digit(tmp_path: Path, decimals: int | None):
    expected = write_coco(tmp_path / "0", np.random.default_rng(5), decimals)
    for to, *back in itertools.permutations(["voc", "yolo"]):
        previous = tmp_path / "0"
        for step in (to, *back, "coco"):
            convert(previous, previous.with_name(f"{previous.name}-{step}"), step)
            previous = previous.with_name(f"{previous.name}-{step}")
        result, _ = read_coco_file(previous, "train")
        boxes = sorted(one[2] for one in expected["train"])
        assert sorted(one[2] for one in result) == boxes


def test_the_same_targets_in_every_format(tmp_path: Path):
    options = ShapesOptions(counts={"train": 6, "val": 2}, image_size=(48, 64), crowd_probability=0.5)
    root = draw_shapes(tmp_path / "shapes", options)
    losses = {to: convert(root, tmp_path / to, to).losses for to in ("voc", "yolo")}
    original = CocoDataset(*find_split(root, "train"))
    voc, yolo = VocDataset(tmp_path / "voc", "train"), YoloDataset(tmp_path / "yolo", "train")
    crowds = 0
    for index in range(len(original)):
        image, target = original[index]
        crowds += int(target.iscrowd.sum())
        for dataset in (voc, yolo):
            other_image, other = dataset[index]
            assert (other_image == image).all()
            np.testing.assert_allclose(other.boxes, target.boxes, atol=1e-5)
            assert other.labels.tolist() == target.labels.tolist()
        assert voc[index][1].difficult.tolist() == target.iscrowd.tolist()
    assert (
        [c.name for c in voc.categories] == [c.name for c in yolo.categories] == [c.name for c in original.categories]
    )
    assert crowds
    for to, loss in losses.items():
        assert any("crowd or ignore regions become" in line for line in loss), to
        assert any("keypoints" in line for line in loss)
        assert any("masks are left out" in line for line in loss)


def test_outlines_to_yolo_and_back(tmp_path: Path):
    outline = [2.5, 3.0, 12.25, 3.0, 12.25, 9.5]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2.5, 3, 9.75, 6.5], "segmentation": [outline]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "segmentation": [outline, outline]},
    ]
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": "cat"}]
    write_image(tmp_path / "0" / "images" / "a.png", noise(20, 30))
    (tmp_path / "0" / "train.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    assert convert(tmp_path / "0", tmp_path / "boxes", "yolo").losses == ["2 masks are left out, their boxes are kept"]
    done = convert(tmp_path / "0", tmp_path / "1", "yolo", with_masks=True)
    assert done.losses == ["1 masks are left out, their boxes are kept"]
    convert(tmp_path / "1", tmp_path / "2", "coco")
    first, second = json.loads((tmp_path / "2/annotations/instances_train.json").read_text())["annotations"]
    assert first["segmentation"] == [outline]
    assert first["bbox"] == [2.5, 3, 9.75, 6.5]
    assert first["area"] == pytest.approx(9.75 * 6.5 / 2)
    assert second["bbox"] == [1, 1, 5, 5]
    assert "segmentation" not in second


def test_all_faults_are_reported_and_nothing_is_written(tmp_path: Path):
    write_coco(tmp_path / "coco", np.random.default_rng(0), None)
    convert(tmp_path / "coco", tmp_path / "voc", "voc")
    convert(tmp_path / "coco", tmp_path / "yolo", "yolo")
    labels = tmp_path / "yolo" / "labels"
    lines = len((labels / "train" / "a picture 0.txt").read_text().splitlines())
    with (labels / "train" / "a picture 0.txt").open("a") as file:
        file.write("7 0.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.1\n0 0.5\n")
    (labels / "val" / "a picture 0.txt").write_text("x\n")
    (tmp_path / "yolo" / "images" / "train" / "a picture 2.png").write_bytes(b"no image")
    words = [
        f"0.txt:{lines + 1}: the class 7",
        f"0.txt:{lines + 2}: the box",
        f"0.txt:{lines + 3}: a label is",
        "val/a",
    ]
    check_faults(tmp_path / "yolo", tmp_path / "out", "coco", [*words, "a picture 2.png"], 5)

    path = next((tmp_path / "voc" / "Annotations").glob("*train_a picture 0.xml"), None)
    path = path or tmp_path / "voc" / "Annotations" / "train_a picture 0.xml"
    path.write_text(path.read_text().replace("<xmin>", "<xmin>x", 1))
    (path.parent / "a picture 1.xml").write_text("<annotation>")
    write_image(tmp_path / "voc" / "JPEGImages" / "a picture 2.png", noise(9, 9))
    check_faults(tmp_path / "voc", tmp_path / "out", "yolo", ["0.xml:", "1.xml:1: this is not XML", "2.png: is 9x9"], 3)

    path = tmp_path / "coco" / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 2, 3]
    content["annotations"][1]["category_id"] = 4
    content["annotations"][2]["image_id"] = 4
    content["annotations"][3]["bbox"] = [-9, 1, 3, 3]
    path.write_text(json.dumps(content))
    check_faults(tmp_path / "coco", tmp_path / "out", "yolo", [f"annotation {number} " for number in (7, 8, 9, 10)], 4)


def check_faults(root: Path, out: Path, to: str, words: list[str], count: int) -> None:
    with pytest.raises(InputError) as error:
        convert(root, out, to)
    message = str(error.value)
    assert f"for {count} faults" in message, message
    assert message.count("\n") == count
    assert not [word for word in words if word not in message], message
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
    done = convert(root, out, to, on_bad="skip", overwrite=True)
    assert len(done.problems) == count
    open_split(out, "train")
    convert_again = convert(out, out.with_name("again"), "voc" if to != "voc" else "coco", overwrite=True)
    assert convert_again.problems == []
    os.rename(out, out.with_name(f"{root.name}-{to}"))


def test_what_is_there_is_not_overwritten(tmp_path: Path):
    write_coco(tmp_path / "coco", np.random.default_rng(0), None)
    out = tmp_path / "out"
    convert(tmp_path / "coco", out, "yolo")
    (out / "labels" / "train" / "stale.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match="--overwrite"):
        convert(tmp_path / "coco", out, "yolo")
    assert (out / "labels" / "train" / "stale.txt").exists()
    convert(tmp_path / "coco", out, "yolo", overwrite=True, images="link")
    assert not (out / "labels" / "train" / "stale.txt").exists()
    assert next((out / "images" / "train").iterdir()).is_symlink()
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "images", "labels"]
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis.tex, which is no part"):
        convert(tmp_path / "coco", out, "yolo", overwrite=True)
    for place in (tmp_path / "coco", tmp_path):
        with pytest.raises(InputError, match="the data to convert"):
            convert(tmp_path / "coco", place, "yolo", overwrite=True)
    with pytest.raises(InputError, match="already"):
        convert(tmp_path / "coco", tmp_path / "new", "coco")


def test_splits_are_chosen(tmp_path: Path):
    write_coco(tmp_path / "coco", np.random.default_rng(0), None)
    assert convert(tmp_path / "coco", tmp_path / "voc", "voc", splits=["val"]).images == {"val": 1}
    (tmp_path / "voc/ImageSets/Main/val.txt").rename(tmp_path / "voc/ImageSets/Main/trainval.txt")
    assert convert(tmp_path / "voc", tmp_path / "yolo", "yolo").images == {"trainval": 1}
    with pytest.raises(InputError, match="no annotation file for the split 'test'"):
        convert(tmp_path / "coco", tmp_path / "new", "voc", splits=["test"])
    with pytest.raises(InputError, match="nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "new", "voc")


def test_different_classes_are_refused(tmp_path: Path):
    write_coco(tmp_path / "coco", np.random.default_rng(0), None)
    path = tmp_path / "coco" / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace("never seen", "other"))
    with pytest.raises(InputError, match="'val' has the classes"):
        convert(tmp_path / "coco", tmp_path / "new", "voc")


def test_several_years_of_voc(tmp_path: Path):
    for number, year in enumerate(("VOC2007", "VOC2012")):
        write_coco(tmp_path / f"coco{year}", np.random.default_rng(number), None)
        convert(tmp_path / f"coco{year}", tmp_path / "devkit" / year, "voc")
    done = convert(tmp_path / "devkit", tmp_path / "yolo", "yolo")
    assert done.images == {"train": 6, "val": 2}
    both, parts = YoloDataset(tmp_path / "yolo", "train"), VocDataset(tmp_path / "devkit", "train")
    assert sum(len(both.target(index)) for index in range(6)) == sum(len(parts.target(index)) for index in range(6))


def test_images_with_an_exif_orientation(tmp_path: Path):
    """Copies are turned as their annotations are, in whichever frame, and no longer depend on an orientation."""
    path = tmp_path / "0" / "images" / "a.jpg"
    path.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(20, 30)).save(path, exif=exif)
    images = [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}]
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 1, 5, 5]}]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "0" / "train.json").write_text(json.dumps(content))
    convert(tmp_path / "0", tmp_path / "voc", "voc")
    assert VocDataset(tmp_path / "voc", "train")[0][0].shape == (3, 20, 30)
    convert(tmp_path / "0", tmp_path / "stored", "yolo")
    image, target = YoloDataset(tmp_path / "stored", "train")[0]
    assert image.shape == (3, 20, 30)
    assert target.boxes.tolist() == [[20, 1, 25, 6]]
    images[0] |= {"height": 30, "width": 20}
    annotations[0]["bbox"] = [2, 20, 5, 5]
    (tmp_path / "0" / "train.json").write_text(json.dumps(content))
    convert(tmp_path / "0", tmp_path / "yolo", "yolo")
    image, target = YoloDataset(tmp_path / "yolo", "train")[0]
    assert image.shape == (3, 30, 20)
    assert target.boxes.tolist() == [[2, 20, 7, 25]]


def write_small_coco(root: Path, names: list[str], contents: list[bytes]) -> None:
    """A COCO folder of 20x20 images, each with one object, whose left side is the number of its image."""
    images, annotations = [], []
    for number, (name, content) in enumerate(zip(names, contents, strict=True), start=1):
        path = root / "images" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        images.append({"id": number, "file_name": name, "height": 20, "width": 20})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [number, 1, 5, 5]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))


ODD_NAMES = [
    "a/b/s.png", "a_b/s.png", "s.png", "S.PNG", "s.jpg", "train_s.png",  # names that are alike
    ".hidden.png", " spaces .png", "no_suffix", "photo.jpg_large", "x.JFIF",  # names that listings would not know
]  # fmt: skip


@pytest.mark.parametrize("to", ["yolo", "voc"])
@pytest.mark.parametrize("images", ["copy", "link"])
def test_every_copy_has_a_name_of_its_own_that_listings_know(tmp_path: Path, to: str, images: str):
    contents = [cv2.imencode(".png", noise(20, 20, number))[1].tobytes() for number in range(len(ODD_NAMES))]
    write_small_coco(tmp_path / "coco", ODD_NAMES, contents)
    done = convert(tmp_path / "coco", tmp_path / to, to, images=images)
    assert done.images == {"train": len(ODD_NAMES)}
    copied = YoloDataset(tmp_path / to) if to == "yolo" else VocDataset(tmp_path / to)
    assert len(copied) == len(ODD_NAMES)
    for index in range(len(copied)):
        pixels, target = copied.read(index)
        number = round(float(target.boxes[0, 0]))
        assert np.array_equal(pixels, noise(20, 20, number - 1)[..., ::-1])


def test_two_entries_of_one_file_are_a_fault(tmp_path: Path):
    content = cv2.imencode(".png", noise(20, 20))[1].tobytes()
    write_small_coco(tmp_path / "coco", ["a.png", "a.png"], [content, content])
    with pytest.raises(InputError, match=r"a\.png: the images 1 and 2 are both this file"):
        convert(tmp_path / "coco", tmp_path / "yolo", "yolo")


def test_names_from_windows(tmp_path: Path):
    contents = [cv2.imencode(".png", noise(20, 20, number))[1].tobytes() for number in range(2)]
    write_small_coco(tmp_path / "coco", ["x/a.png", "x/b.png"], contents)
    path = tmp_path / "coco" / "annotations" / "instances_train.json"
    path.write_text(path.read_text().replace("x/", r"x\\"))
    convert(tmp_path / "coco", tmp_path / "yolo", "yolo")
    original, copied = CocoDataset(*find_split(tmp_path / "coco", "train")), YoloDataset(tmp_path / "yolo")
    for index in range(2):
        assert np.array_equal(original.read(index)[0], copied.read(index)[0])
