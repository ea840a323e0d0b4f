"""Anchors for a user's data set, from the command line."""

import ast
import json

import numpy as np
import pytest

from detkit.engine.commands.fit_anchors import anchors_command
from detkit.errors import InputError


@pytest.fixture
def annotations(tmp_path):
    """Two kinds of boxes in images of two sizes, which look alike once the images are letterboxed; and a crowd."""
    random, images, objects = np.random.default_rng(0), [], []
    for image, side in enumerate([200, 400] * 10):
        images.append({"id": image, "file_name": f"{image}.jpg", "width": side, "height": side // 2})
        for width, height in ((0.1, 0.2), (0.3, 0.1)):
            noise = 1 + 0.01 * random.standard_normal(2)
            box = [0, 0, side * width * noise[0], side * height * noise[1]]
            objects.append({"id": len(objects), "image_id": image, "category_id": 1, "bbox": box, "iscrowd": 0})
    crowd = {"id": len(objects), "image_id": 0, "category_id": 1, "bbox": [0, 0, 190, 99], "iscrowd": 1}
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"images": images, "annotations": [*objects, crowd], "categories": [{"id": 1, "name": "a"}]})
    )
    return path


def test_prints_anchors_of_the_letterboxed_input_and_their_mean_iou(annotations, capsys):
    anchors_command([str(annotations), "--count", "2", "--size", "100"])
    first, second = capsys.readouterr().out.splitlines()
    anchors = np.array(ast.literal_eval(first.removeprefix("anchors: ")))
    np.testing.assert_allclose(anchors, [[10, 20], [30, 10]], atol=0.3)
    assert 0.97 < float(second.split()[2]) < 1
    assert second.endswith("of 40 boxes")


def test_more_anchors_than_boxes_are_refused(annotations):
    with pytest.raises(InputError, match="50 anchors need as many boxes of different sizes, got 40"):
        anchors_command([str(annotations), "--count", "50"])


def test_images_without_a_size_are_refused(annotations):
    content = json.loads(annotations.read_text())
    del content["images"][3]["width"]
    annotations.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"does not state width and height of 3\.jpg"):
        anchors_command([str(annotations)])
