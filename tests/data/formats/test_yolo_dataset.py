from pathlib import Path

import pytest
import torch
import yaml
from image_files import noise, write_image

from detkit.data import DataModule, YoloDataset, format_of
from detkit.data.formats.yolo_txt import label_file
from detkit.errors import InputError

SIZES = {"a": (40, 60), "b": (50, 30), "sub/c": (32, 32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data set"
    for split in ("train", "val"):
        for name, size in SIZES.items():
            write_image(root / "images" / split / f"{name}.png", noise(*size))
            (root / "labels" / split / name).parent.mkdir(parents=True, exist_ok=True)
    labels = root / "labels" / "train"
    (labels / "a.txt").write_text("1 0.5 0.25 0.5 0.5\n\n0 0.1 0.2 0.1 0.1\n")
    (labels / "sub" / "c.txt").write_text("0 0.25 0.25 0.75 0.25 0.75 0.5\n")
    (root / "labels" / "val" / "b.txt").write_text("1 0.5 0.5 1 1\n")
    describe(root)
    return root


def describe(root: Path, name: str = "data.yaml", **changes) -> Path:
    content = {"path": ".", "train": "images/train", "val": "images/val", "nc": 2, "names": ["cat", "dog"], **changes}
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def test_boxes_outlines_and_images_without_labels(folder: Path):
    dataset = YoloDataset(folder, "train", reads=["masks"])
    assert [category.name for category in dataset.categories] == ["cat", "dog"]
    assert dataset.image_ids == [f"images/train/{name}.png" for name in SIZES]
    image, target = dataset[0]
    assert image.shape == (3, 40, 60)
    assert torch.equal(target.boxes, torch.tensor([[15.0, 0, 45, 20], [3, 6, 9, 10]]))
    assert target.labels.tolist() == [1, 0]
    assert target.masks[1].sum() == 24
    assert len(dataset[1][1]) == 0
    _, outlined = dataset[2]
    assert torch.equal(outlined.boxes, torch.tensor([[8.0, 8, 24, 16]]))
    assert outlined.area.tolist() == [64]
    assert abs(int(outlined.masks.sum()) - 64) <= 12
    assert target.difficult is None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": None},
        {"path": None, "train": "../images/train"},
        {"train": ["images/train"]},
        {"train": ["images/train/a.png", "images/train/b.png", "images/train/sub"]},
        {"train": "train.txt"},
        {"names": {0: "cat", 1: "dog"}},
        {"nc": None},
        {"path": "ABSOLUTE"},
    ],
)
def test_the_ways_to_write_a_data_yaml(folder: Path, changes: dict):
    (folder / "train.txt").write_text("./images/train/a.png\nimages/train/b.png\n\nimages/train/sub/c.png\n")
    changes = {key: str(folder) if value == "ABSOLUTE" else value for key, value in changes.items()}
    dataset = YoloDataset(describe(folder, **changes), "train")
    assert dataset.image_ids == [f"images/train/{name}.png" for name in SIZES]
    assert sum(len(dataset.target(index)) for index in range(3)) == 3


def test_a_data_yaml_elsewhere_and_of_another_name(folder: Path, tmp_path: Path):
    (folder / "data.yaml").unlink()
    path = describe(tmp_path / "configs", "coco8.yaml", path=str(folder))
    assert len(YoloDataset(path, "train")) == 3
    describe(folder, "mine.yaml")
    assert len(YoloDataset(folder, "train")) == 3
    describe(folder, "yours.yaml")
    with pytest.raises(InputError, match=r"mine.yaml, yours.yaml"):
        YoloDataset(folder, "train")


def test_where_labels_are():
    assert label_file(Path("/images/x/images/train/a.b.jpg")) == Path("/images/x/labels/train/a.b.txt")
    assert label_file(Path("/VOC/JPEGImages/a.jpg")) == Path("/VOC/labels/a.txt")
    assert label_file(Path("/train/a.jpg")) == Path("/train/a.txt")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", ["class 2", "0..1"]),
        ("-1 0.5 0.5 0.1 0.1", ["class -1"]),
        ("0.5 0.5 0.5 0.1 0.1", ["class 0.5"]),
        ("0 0.5 0.5 0.1", ["this line has 4 numbers"]),
        ("0 0.5 0.5 0.1 0.1 0.1 0.1 0.1", ["this line has 8 numbers"]),
        ("0 30 20 10 10", ["fractions"]),
        ("0 0.5 0.5 nan 0.1", ["fractions"]),
        ("cat 0.5 0.5 0.1 0.1", ["not all numbers"]),
        ("0 0.5 0.5 0 0.1", ["no area", "on_bad_box skip"]),
    ],
)
def test_wrong_labels_are_named(folder: Path, line: str, words: list[str]):
    (folder / "labels" / "train" / "b.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(InputError) as error:
        YoloDataset(folder, "train")
    assert not [word for word in ["b.txt:2", *words] if word not in str(error.value)], str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": None}, ["'names' must list the classes"]),
        ({"names": {1: "cat", 2: "dog"}}, ["number the classes 0, 1, 2"]),
        ({"nc": 3}, ["'nc' is 3", "2 classes"]),
        ({"path": "elsewhere", "train": "nothing"}, ["elsewhere", "no folder"]),
        ({"train": "images/nothing"}, ["images/nothing"]),
        ({"train": None}, ["no 'train' images", "val"]),
        ({"train": "labels/train"}, ["no image in 'train'"]),
    ],
)
def test_a_wrong_data_yaml_is_explained(folder: Path, changes: dict, words: list[str]):
    with pytest.raises(InputError) as error:
        YoloDataset(describe(folder, **changes), "train")
    assert not [word for word in ["data.yaml", *words] if word not in str(error.value)], str(error.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [yes, no]", ["yes", "no"]),
        ("names: [on, true]", ["on", "true"]),
        ("names: [1, 02]", ["1", "02"]),
        ("names: [1.10, 1e3]", ["1.10", "1e3"]),
        ("names: [2024-01-01, 2024-13-45]", ["2024-01-01", "2024-13-45"]),
        ("names: {'0': cat, '1': dog}", ["cat", "dog"]),
        ("names: {1: dog, 0: cat}\nnc: '2'", ["cat", "dog"]),
        ("names: ['null', 'no']\nnc: 2", ["null", "no"]),
    ],
)
def test_names_are_text_and_counts_are_numbers(folder: Path, text: str, names: list[str]):
    (folder / "data.yaml").write_text(f"train: images/train\n{text}\n")
    assert [category.name for category in YoloDataset(folder, "train").categories] == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [null, cat]", ["class 0", "in quotes"]),
        ("names: [cat, '']", ["class 1"]),
        ("names: [cat, [dog]]", ["class 1"]),
        ("names: {0: cat, 2: dog}", ["number the classes 0, 1, 2"]),
        ("names: {0: cat, x: dog}", ["number the classes 0, 1, 2"]),
        ("names: {0: cat, '0': dog}", ["'0'", "twice"]),
        ("names: [cat]\nnames: [dog]", ["'names'", "twice"]),
        ("names: [cat]\nnc: yes", ["'nc' is yes"]),
        ("names: [cat]\nkpt_shape: [17, many]", ["'kpt_shape'"]),
        ("names: [cat]\npath: {a: b}", ["'path' must be"]),
        ("names: &a [*a]", ["alias"]),
    ],
)
def test_values_of_a_data_yaml_that_make_no_sense(folder: Path, text: str, words: list[str]):
    (folder / "data.yaml").write_text(f"train: images/train\n{text}\n")
    with pytest.raises(InputError) as error:
        YoloDataset(folder, "train")
    assert not [word for word in ["data.yaml", *words] if word not in str(error.value)], str(error.value)


def test_bad_boxes_can_be_left_out(folder: Path, caplog):
    lines = ["0 0.5 0.5 0.1 0.1", "0 0.5 0.5 0 0.1", "1 0.5 0.5 nan 0.1", "1 30 20 10 10", "0 0.5 0.5 0.1", "1 a b c d"]
    (folder / "labels" / "train" / "b.txt").write_text("\n".join(lines))
    dataset = YoloDataset(folder, "train", on_bad_box="skip")
    assert dataset.target(1).labels.tolist() == [0]
    assert "4 boxes are wrong" in caplog.text
    assert "b.txt:3" in caplog.text
    assert "1 of 5 boxes" in caplog.text
    (folder / "labels" / "train" / "b.txt").write_text("2 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match="the class 2"):
        YoloDataset(folder, "train", on_bad_box="skip")


def test_images_that_share_a_label_file_each_get_its_objects(folder: Path, caplog):
    write_image(folder / "images" / "train" / "a.jpg", noise(20, 20))
    dataset = YoloDataset(folder, "train")
    assert dataset.image_ids[:2] == ["images/train/a.jpg", "images/train/a.png"]
    assert dataset.target(0).boxes.tolist() == [[5, 0, 15, 10], [1, 3, 3, 5]]
    assert dataset.target(1).boxes.tolist() == [[15, 0, 45, 20], [3, 6, 9, 10]]
    assert "a.jpg and images/train/a.png" in caplog.text


@pytest.mark.parametrize("line", ["1 0.5 0.5 0.1 0.1", "1.0\t0.5 0.5 1e-1 .1"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_ways_to_write_a_label(folder: Path, line: str, encoding: str):
    (folder / "labels" / "train" / "b.txt").write_bytes(f"\r\n{line}\r\n".encode(encoding))
    target = YoloDataset(folder, "train").target(1)
    assert target.labels.tolist() == [1]
    assert target.boxes[0].tolist() == pytest.approx([13.5, 22.5, 16.5, 27.5])


def test_lists_name_their_wrong_line(folder: Path):
    (folder / "train.txt").write_bytes(b"images\\train\\a.png\r\n\r\n.\\images\\train\\sub\\c.png\r\n")
    describe(folder, train="train.txt")
    assert [Path(name).name for name in YoloDataset(folder, "train").image_ids] == ["a.png", "c.png"]
    (folder / "train.txt").write_text("images/train/a.png\n\nimages/train/gone.png\n")
    with pytest.raises(InputError, match=r"train.txt:3: there is no image .*gone.png"):
        YoloDataset(folder, "train")
    (folder / "train.txt").write_text("\n")
    with pytest.raises(InputError, match=r"no image in 'train': train\.txt"):
        YoloDataset(folder, "train")


def test_misplaced_labels_and_missing_images(folder: Path):
    (folder / "labels").rename(folder / "label")
    with pytest.raises(InputError, match=r"none of the 3 images of 'train' has labels.*labels/train/a.txt"):
        YoloDataset(folder, "train")
    (folder / "label").rename(folder / "labels")
    (folder / "train.txt").write_text("images/train/a.png\nimages/train/gone.png\n")
    describe(folder, train="train.txt")
    with pytest.raises(InputError, match=r"gone.png"):
        YoloDataset(folder, "train")
    assert YoloDataset(folder, "train", on_bad_image="skip").image_ids == ["images/train/a.png"]


def test_keypoints_of_a_pose_file_are_left_out(folder: Path):
    (folder / "labels" / "train" / "b.txt").write_text("0 0.5 0.5 0.2 0.1 0.1 0.2 2 0.3 0.4 2\n")
    assert len(YoloDataset(describe(folder, kpt_shape=[2, 3]), "train").target(1)) == 1


def test_from_a_data_module(folder: Path):
    assert format_of(folder) == format_of(folder / "data.yaml") == "yolo"
    for root in (folder, folder / "data.yaml"):
        data = DataModule(root, batch_size=3, num_workers=0, augmentation=None)
        data.setup("fit")
        ((images, targets),) = list(data.train_dataloader())
        assert len(images) == len(targets) == 3
    truth = data.eval_dataset.ground_truth()
    assert [one["bbox"] for one in truth["annotations"]] == [[0, 0, 30, 50]]
