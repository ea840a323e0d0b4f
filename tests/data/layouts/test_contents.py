"""What a training says about its data."""

import json
from pathlib import Path

import numpy as np
from image_files import noise, write_image

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.data.layouts.contents import describe_data, warnings_about_data, warnings_about_maps


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


def test_masks_of_0_and_255_are_not_trained_on_in_silence(tmp_path: Path):
    for split in ("train", "val"):
        for number in range(3):
            write_image(tmp_path / "images" / split / f"{number}.png", noise(20, 30, number))
            mask = np.zeros((20, 30), np.uint8)
            mask[4:12, 5:20] = 255
            write_image(tmp_path / "masks" / split / f"{number}.png", mask)
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    data = DataModule(tmp_path)
    assert warnings_about_maps(data) == []  # not read
    data.read_for({"label_map"})
    (sentence,) = warnings_about_maps(data)
    assert "3 of 3 label maps hold one class alone, mostly 'ground'" in sentence
    classes = [{"name": "ground", "value": 0}, {"name": "thing", "value": 255}]
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    data = DataModule(tmp_path, reads=["label_map"])
    assert warnings_about_maps(data) == []
    assert data.train_dataset.target(0).label_map.unique().tolist() == [0, 1]
