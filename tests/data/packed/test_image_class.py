"""Objects give their image a class."""

import json

import numpy as np
import pytest
from image_files import noise, write_image

from detkit.data import CocoDataset, DataModule, ShapesOptions, draw_shapes
from detkit.errors import InputError


@pytest.fixture
def dataset(tmp_path):
    """Pictures with: two objects of class 7; objects of two classes, the larger of class 3; a crowd alone; nothing."""
    objects = [
        (1, 7, [0, 0, 10, 10], 0), (1, 7, [5, 5, 20, 20], 0), (1, 3, [0, 0, 30, 30], 1),
        (2, 7, [0, 0, 10, 10], 0), (2, 3, [3, 4, 20, 10], 0), (3, 3, [0, 0, 30, 30], 1),
    ]  # fmt: skip
    for name in range(1, 5):
        write_image(tmp_path / f"{name}.png", noise(32, 32, name))
    content = {
        "images": [{"id": name, "file_name": f"{name}.png", "height": 32, "width": 32} for name in range(1, 5)],
        "annotations": [
            {"id": row, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
            for row, (image, category, box, crowd) in enumerate(objects)
        ],
        "categories": [{"id": 3, "name": "three"}, {"id": 7, "name": "seven"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return CocoDataset(tmp_path, tmp_path / "a.json", reads=["masks"])


def test_the_largest_object_decides(dataset, caplog):
    labeled = dataset.with_image_labels("largest")
    assert labeled.image_ids == [1, 2]
    targets = [labeled.target(index) for index in range(2)]
    assert [target.image_label for target in targets] == [1, 0]
    assert targets[0].boxes.tolist() == [[0, 0, 10, 10], [5, 5, 25, 25]]
    assert targets[1].boxes.tolist() == [[3, 4, 23, 14]]
    assert targets[1].masks.sum() == 200
    assert "2 of 4 images have no object" in caplog.text
    assert dataset.target(0).image_label is None
    assert len(dataset.target(0)) == 3


def test_only_images_of_one_class(dataset):
    labeled = dataset.with_image_labels("only")
    assert labeled.image_ids == [1]
    truth = labeled.ground_truth()
    assert truth["images"][0]["category_id"] == 7
    assert [entry["bbox"] for entry in truth["annotations"]] == [[0, 0, 10, 10], [5, 5, 20, 20]]
    assert dataset.ground_truth() == dataset.annotations_path


def test_no_image_has_a_class(dataset):
    content = json.loads(dataset.annotations_path.read_text())
    content["annotations"] = content["annotations"][3:]
    dataset.annotations_path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="only"):
        CocoDataset(dataset.images_path, dataset.annotations_path).with_image_labels("only")


@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_images_against_a_loop(tmp_path, seed):
    options = ShapesOptions(counts={"train": 20}, image_size=(48, 64), max_objects=3, crowd_probability=0.5, seed=seed)
    root = draw_shapes(tmp_path / "shapes", options)
    plain = CocoDataset(root / "images" / "train", root / "annotations" / "instances_train.json")
    labeled = DataModule(root=root, image_class="largest").dataset("train")
    position = {key: index for index, key in enumerate(labeled.image_ids)}
    for index, key in enumerate(plain.image_ids):
        objects = plain.target(index).objects()
        sizes = [float((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in objects.boxes]
        if not sizes:
            assert key not in position
            continue
        label = objects.labels[int(np.argmax(sizes))].item()
        target = labeled.target(position[key])
        assert target.image_label == label
        assert target.boxes.tolist() == objects.boxes[objects.labels == label].tolist()
