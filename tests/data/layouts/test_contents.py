"""What a training says about its data."""

import json
from pathlib import Path

from image_files import noise, write_image

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.data.layouts.contents import describe_data, warnings_about_data


def test_images_objects_classes_and_sizes(coco_folder):
    images, path = coco_folder()
    data = DataModule(train_images=images, train_annotations=path, val_images=images, val_annotations=path)
    line = "3 images of 32x32 to 60x40, 2 objects (14 to 49 pixels, median 32) in 2 classes"
    assert describe_data(data) == [f"train: {line}; {path}", f"val: {line}; {path}"]
    assert list(warnings_about_data(data)) == []


def test_classes_of_images(tmp_path: Path):
    for number, name in enumerate(["train/b/1.png", "train/b/2.png", "train/a/3.png", "val/a/4.png", "val/b/5.png"]):
        write_image(tmp_path / name, noise(20, 30, number))
    assert [line.partition(";")[0] for line in describe_data(DataModule(tmp_path))] == [
        "train: 3 images, 2 classes with 1 to 2 images each",
        "val: 2 images, 2 classes with 1 to 1 images each",
    ]


def test_no_image_is_read(tmp_path: Path, monkeypatch):
    root = draw_shapes(tmp_path / "shapes", ShapesOptions(counts={"train": 4, "val": 2}, image_size=(48, 64)))
    data = DataModule(root)
    data.setup("fit")
    monkeypatch.setattr(type(data.train_dataset), "read_image", None)
    num_objects = sum(int((~data.train_dataset.target(index).iscrowd).sum()) for index in range(4))
    line = describe_data(data)[0]
    assert line.startswith("train: 4 images of ")
    assert f", {num_objects} objects (" in line


def test_what_is_doubtful(coco_folder):
    categories = [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}, {"id": 9, "name": "nine"}]
    images, path = coco_folder(categories=categories)
    empty = path.with_name("empty.json")
    empty.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    data = DataModule(train_images=images, train_annotations=path, val_images=images, val_annotations=empty)
    assert list(warnings_about_data(data)) == [
        f"{empty}: none of the 3 images has an object",
        f"{path}: 1 class never occurs in the training data and cannot be learned: nine",
    ]
