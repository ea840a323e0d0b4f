"""Folders whose layout is recognized: read, or refused with what to do."""

import json
from pathlib import Path

import pytest
from image_files import noise, write_image

from detkit.data import DataModule, format_of, open_split
from detkit.errors import InputError

XML = """<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
</object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 1, 9, 8]}],
    "categories": [{"id": 1, "name": "cat"}],
}
LABEL = "0 0.5 0.5 0.1 0.1\n"


def write(root: Path, *names: str) -> None:
    """Files with the content that their names ask for."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            write_image(path, noise(20, 30))
        elif path.suffix == ".json":
            path.write_text(json.dumps(COCO))
        elif path.suffix == ".yaml":
            path.write_text("train: images/train\nval: images/val\nnames: [cat]\n")
        elif path.suffix == ".xml":
            path.write_text(XML)
        else:
            path.write_text("a\n" if "ImageSets" in name else LABEL)


def write_voc(root: Path) -> None:
    write(root, "JPEGImages/a.png", "Annotations/a.xml", "ImageSets/Main/train.txt", "ImageSets/Main/val.txt")


def write_yolo(root: Path, description: bool = True) -> None:
    for split in ("train", "val"):
        write(root, f"images/{split}/a.png", f"labels/{split}/a.txt")
    if description:
        write(root, "data.yaml")


def write_coco(root: Path, *splits: str) -> None:
    for split in splits:
        write(root, f"images/{split}/a.png", f"annotations/instances_{split}.json")


def refused(**options) -> str:
    with pytest.raises(InputError) as error:
        DataModule(num_workers=0, **options).setup("fit")
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_words(message: str, *words: str) -> None:
    assert not [word for word in words if word not in message], message


def test_a_folder_that_holds_data_in_two_formats_is_refused(tmp_path: Path):
    write_voc(tmp_path / "voc")
    assert format_of(tmp_path) == "voc"
    write_yolo(tmp_path / "yolo")
    assert_words(refused(root=tmp_path), "voc/ (voc)", "yolo/ (yolo)", "give one of these folders")
    for name in ("voc", "yolo"):
        DataModule(tmp_path / name, num_workers=0).setup("fit")
    write_coco(tmp_path / "coco", "train", "val")
    assert_words(refused(root=tmp_path), "voc/ (voc)", "yolo/ (yolo)", "coco/ (coco)")


def test_a_folder_in_two_formats_is_refused_unless_one_is_named(tmp_path: Path):
    write_voc(tmp_path)
    write_yolo(tmp_path)
    assert_words(refused(root=tmp_path), "yolo (data.yaml)", "voc (Annotations/)", "--data.format voc")
    for format in ("voc", "yolo"):
        DataModule(tmp_path, format=format, num_workers=0).setup("fit")


def test_data_one_level_down_is_named(tmp_path: Path):
    write_yolo(tmp_path / "mine")
    assert_words(refused(root=tmp_path), "mine/ (YOLO)", f"--data.root {tmp_path / 'mine'}")


def opened(root: Path, split: str = "train") -> int:
    """The number of images of a split, each with the one object of these fixtures."""
    dataset = open_split(root, split)
    assert [len(dataset.target(index).boxes) for index in range(len(dataset))] == [1] * len(dataset)
    assert [category.name for category in dataset.categories] == ["cat"]
    return len(dataset)


def test_xml_beside_images(tmp_path: Path):
    write(tmp_path, "train/a.png", "train/a.xml")
    assert opened(tmp_path) == 1
    assert_words(refused(root=tmp_path), "val", "--data.val_fraction 0.2")
    write(tmp_path, "valid/b.png", "valid/b.xml")
    assert opened(tmp_path, "val") == 1
    DataModule(tmp_path, num_workers=0).setup("fit")


@pytest.mark.parametrize("folders", ["Annotations JPEGImages", "Annotations images", "annotations images", ". ."])
def test_voc_without_image_sets(tmp_path: Path, folders: str):
    annotations, images = folders.split()
    for name in "abcd":
        write(tmp_path, f"{images}/{name}.png", f"{annotations}/{name}.xml")
    assert format_of(tmp_path) == "voc"
    assert opened(tmp_path) == 4
    assert_words(refused(root=tmp_path), "--data.val_fraction 0.2")
    data = DataModule(tmp_path, num_workers=0, val_fraction=0.25)
    data.setup("fit")
    assert (len(data.train_dataset), len(data.eval_dataset)) == (3, 1)


def test_voc_folders_within_folders_of_splits(tmp_path: Path):
    write(tmp_path, "train/images/a.png", "train/annotations/a.xml", "val/images/b.png", "val/annotations/b.xml")
    DataModule(tmp_path, num_workers=0).setup("fit")
    assert opened(tmp_path, "val") == 1


@pytest.mark.parametrize("file", ["annotations.json", "annotations/instances_default.json", "_annotations.coco.json"])
def test_one_coco_file_for_all_images(tmp_path: Path, file: str):
    content = {**COCO, "images": [{**COCO["images"][0], "id": i, "file_name": f"{i}.png"} for i in range(1, 6)]}
    write(tmp_path, file, *(f"images/{i}.png" for i in range(1, 6)))
    (tmp_path / file).write_text(json.dumps(content))
    message = refused(root=tmp_path)
    assert_words(message, "--data.val_fraction 0.2")
    assert "--data.val_annotations" not in message  # the file is that of training
    data = DataModule(tmp_path, num_workers=0, val_fraction=0.4)
    data.setup("fit")
    assert sorted(data.train_dataset.image_ids + data.eval_dataset.image_ids) == [1, 2, 3, 4, 5]
    assert len(data.eval_dataset) == 2
    evaluated = data.eval_dataset.ground_truth()
    assert [image["id"] for image in evaluated["images"]] == data.eval_dataset.image_ids


def test_a_yolo_export_with_paths_above_its_folder(tmp_path: Path):
    for split in ("train", "valid"):
        write(tmp_path, f"{split}/images/a.png", f"{split}/labels/a.txt")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n")
    DataModule(tmp_path, num_workers=0).setup("fit")
    assert opened(tmp_path, "val") == 1


def test_a_yolo_file_whose_path_is_of_another_machine(tmp_path: Path, caplog):
    write_yolo(tmp_path)
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(f"path: /content/datasets/mine\n{text}")
    assert opened(tmp_path, "val") == 1
    assert_words(caplog.text, "/content/datasets/mine", "next to the file")
    (tmp_path / "images" / "train").rename(tmp_path / "gone")
    assert_words(refused(root=tmp_path), "'path'", "is no folder")


@pytest.mark.parametrize("layout", ["images/{}/ labels/{}/", "{}/images/ {}/labels/", "{}/ {}/"])
def test_yolo_labels_and_a_list_of_classes(tmp_path: Path, layout: str):
    images, labels = layout.split()
    for split in ("train", "valid"):
        write(tmp_path, f"{images.format(split)}a.png", f"{labels.format(split)}a.txt")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "notes.json").write_text('{"categories": [{"id": 0, "name": "cat"}]}')  # of an annotation program
    assert format_of(tmp_path) == "yolo"
    assert opened(tmp_path) == opened(tmp_path, "val") == 1
    assert_words(refused(root=tmp_path, val_split="test"), "no folder test of images", "it has train, val")


@pytest.mark.parametrize("folders", ["images/ labels/", ". ."])
def test_yolo_labels_and_a_list_of_classes_without_splits(tmp_path: Path, folders: str):
    images, labels = folders.split()
    for name in "abcd":
        write(tmp_path, f"{images}/{name}.png", f"{labels}/{name}.txt")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert opened(tmp_path) == 4
    assert_words(refused(root=tmp_path), "no folder val", "--data.val_fraction 0.2")
    DataModule(tmp_path, num_workers=0, val_fraction=0.25).setup("fit")


def test_a_list_of_classes_alone_is_no_yolo(tmp_path: Path):
    write(tmp_path, "train/a.png", "train/a.xml")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert format_of(tmp_path) == "voc"


def test_voc_annotations_in_a_folder_of_each_split(tmp_path: Path):
    for split, name in (("train", "a"), ("val", "b")):
        write(tmp_path, f"images/{split}/{name}.png", f"annotations/{split}/{name}.xml")
    assert opened(tmp_path) == opened(tmp_path, "val") == 1
    assert open_split(tmp_path, "val").image_ids == ["b"]
    DataModule(tmp_path, num_workers=0).setup("fit")
    assert_words(refused(root=tmp_path, val_split="test"), "no split test", "it has train, val")


def test_labelme_files_apart_from_images_in_folders_of_splits(tmp_path: Path):
    shape = {"label": "cat", "points": [[1, 2], [9, 9]], "shape_type": "rectangle"}
    for split in ("train", "val"):
        write(tmp_path, f"images/{split}/{split}.png", f"labels/{split}/{split}.json")
        content = {"shapes": [shape], "imagePath": f"../../images/{split}/{split}.png", "imageData": None}
        (tmp_path / f"labels/{split}/{split}.json").write_text(json.dumps(content))
    assert opened(tmp_path) == opened(tmp_path, "val") == 1
    assert_words(refused(root=tmp_path, val_split="test"), "no folder test", "it has train, val")


def test_folders_of_classes_without_splits(tmp_path: Path):
    names = [f"{folder}/{number}.png" for folder in ("cat", "dog") for number in range(4)]
    write(tmp_path, *names)
    assert format_of(tmp_path) == "folders"
    assert_words(refused(root=tmp_path), "no folder val", "--data.val_fraction 0.2")
    data = DataModule(tmp_path, num_workers=0, val_fraction=0.5)
    assert sorted(data.train_dataset.image_ids + data.eval_dataset.image_ids) == names
    assert len(data.eval_dataset) == 4
    write(tmp_path, "dog/annotations.json")
    assert format_of(tmp_path) != "folders"


def test_images_without_annotations(tmp_path: Path):
    assert_words(refused(root=tmp_path), "no images and no annotations")
    write(tmp_path, "a.png")
    assert_words(refused(root=tmp_path), "images, but no annotations", "COCO", "VOC", "YOLO", "LabelMe", "CVAT")


def test_a_coco_export_with_a_file_in_the_folder_of_each_split(tmp_path: Path):
    for split in ("train", "valid", "test"):
        write(tmp_path, f"{split}/a.png", f"{split}/_annotations.coco.json")
    DataModule(tmp_path, num_workers=0).setup("fit")
    assert opened(tmp_path, "test") == 1


def test_a_validation_split_that_is_there_is_used_whole(tmp_path: Path):
    write_coco(tmp_path, "train", "val")
    data = DataModule(tmp_path, num_workers=0, val_fraction=0.5)
    data.setup("fit")
    assert data.eval_dataset.annotations_path.name == "instances_val.json"
    assert len(data.train_dataset) == 1


@pytest.mark.parametrize("layout", ["images and labels", "beside", "parts in splits"])
def test_labels_without_a_data_yaml(tmp_path: Path, layout: str):
    if layout == "images and labels":
        write_yolo(tmp_path, description=False)
    elif layout == "beside":
        write(tmp_path, "a.png", "a.txt")
    else:
        write(tmp_path, "train/images/a.png", "train/labels/a.txt")
    assert_words(refused(root=tmp_path), "label file of YOLO", "no data.yaml", "'train: ", "names: [the first class")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    assert_words(refused(root=tmp_path), "'names: [cat, dog]'")


def test_a_coco_file_without_a_split_in_its_name(tmp_path: Path):
    write_coco(tmp_path, "default")
    annotations = tmp_path / "annotations" / "instances_default.json"
    assert_words(refused(root=tmp_path), "split 'val'", "--data.val_fraction")
    data = DataModule(tmp_path, train_annotations=annotations, val_annotations=annotations, num_workers=0)
    data.setup("fit")
    assert len(data.train_dataset) == len(data.eval_dataset) == 1


def test_files_of_each_split_beside_its_images(tmp_path: Path):
    for split in ("train", "valid"):
        write(tmp_path, f"{split}/a.png", f"{split}/_annotations.coco.json")
    data = DataModule(tmp_path, num_workers=0)
    data.setup("fit")
    assert data.eval_dataset.target(0).boxes.tolist() == [[0, 1, 9, 9]]


def test_archives_and_files_are_no_folders(tmp_path: Path):
    write(tmp_path, "data.zip", "train.json")
    assert_words(refused(root=tmp_path / "data.zip"), "archive", "unpack")
    assert_words(refused(root=tmp_path / "train.json"), "--data.train_annotations")
    (tmp_path / "train.json").unlink()
    assert_words(refused(root=tmp_path), "data.zip", "unpack")


def test_a_given_annotation_file_needs_no_such_split_in_the_folder(tmp_path: Path):
    write_coco(tmp_path / "mine", "train")
    write(tmp_path, "mine/pictures/b.png", "other.json")
    content = {**COCO, "images": [{**COCO["images"][0], "file_name": "b.png"}]}
    (tmp_path / "other.json").write_text(json.dumps(content))
    data = DataModule(tmp_path / "mine", val_annotations=tmp_path / "other.json", num_workers=0)
    data.setup("fit")
    assert data.eval_dataset.images_path == tmp_path / "mine" / "pictures"
    assert_words(refused(root=tmp_path / "mine"), "split 'val'", "--data.val_annotations")
    assert_words(refused(root=tmp_path / "mine", val_annotations=tmp_path / "gone.json"), "gone.json", "does not exist")


@pytest.mark.parametrize("name", ["**", "/train", "", "a/b"])
def test_names_of_splits_are_no_patterns(tmp_path: Path, name: str):
    write_coco(tmp_path, "train")
    assert refused(root=tmp_path, format="coco", train_split=name)
