"""Anchors of a recipe for a user's data set, from the command line."""

import json
import re
import shlex

import numpy as np
import pytest

from detkit.data import ShapesOptions, draw_shapes
from detkit.data.conversion import convert
from detkit.engine.cli import run
from detkit.engine.commands.anchors import anchors_command
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.errors import InputError
from detkit.recipes import recipe_path

# Of images of 200 x 100 pixels, and of 400 x 200.
SHARES = [(0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.3, 0.6), (0.45, 0.9)]


def write_boxes(path, shares, crowds=()):
    """Boxes that are a share of their image's width and height, once in each of 20 images of two sizes."""
    random, images, objects = np.random.default_rng(0), [], []
    for image in range(20):
        width, height = ((200, 100), (400, 200))[image % 2]
        images.append({"id": image, "file_name": f"{image}.jpg", "width": width, "height": height})
        for is_crowd, share in [(0, one) for one in shares] + [(1, one) for one in crowds]:
            near = 1 + 0.005 * random.standard_normal(2)
            box = [0, 0, width * share[0] * near[0], height * share[1] * near[1]]
            one = {"image_id": image, "category_id": 1, "bbox": box, "iscrowd": is_crowd}
            objects.append({"id": len(objects), **one})
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "a"}]}
    path.write_text(json.dumps(content))
    return str(path)


def fitted(printed):
    """The anchors in what the command printed, by their key in a config."""
    return {key: json.loads(value) for key, value in re.findall(r"^  (\w+): (.*)$", printed, re.MULTILINE)}


def measured(printed, row):
    """Mean IoU and recall in a row of the report."""
    mean, share = re.search(rf"^{row} +([\d.]+) +([\d.]+)%$", printed, re.MULTILINE).groups()
    return float(mean), float(share)


def test_yolos_anchors_are_the_kinds_of_boxes_after_letterboxing(tmp_path, capsys):
    # The recipe's canvas is 144 x 144: images become 144 x 72.
    anchors_command([write_boxes(tmp_path / "a.json", SHARES, [(0.9, 0.3)]), "--recipe", "yolo_v2_shapes"])
    printed = capsys.readouterr().out
    (level,) = fitted(printed)["anchors"]
    np.testing.assert_allclose(level, [(144 * width, 72 * height) for width, height in SHARES], atol=0.5)
    assert "100 boxes" in printed
    assert measured(printed, "fitted")[0] > 0.95 > measured(printed, "recipe")[0]


def test_a_pyramid_gets_the_sizes_in_the_order_of_its_levels_and_the_shapes(tmp_path, capsys):
    # The shorter side of 100 or 200 pixels would become 384, but the longer one at most 640: 640 x 320.
    tall = [(0.04, 0.16), (0.1, 0.4), (0.2, 0.8)]
    wide = [(0.08, 0.08), (0.2, 0.2), (0.4, 0.4)]
    square = [(0.06, 0.12), (0.14, 0.28), (0.3, 0.6)]
    anchors_command(
        [write_boxes(tmp_path / "a.json", tall + wide + square), "--recipe", "mask_rcnn_mobilenet_v2_fpn_nuclei"]
    )
    settings = fitted(capsys.readouterr().out)
    np.testing.assert_allclose(settings["aspect_ratios"], [0.5, 1.0, 2.0], rtol=0.05)
    sizes = [size for level in settings["anchor_sizes"] for size in level]
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(640 * 0.06, rel=0.15)
    assert sizes[-1] == pytest.approx(640 * 0.3, rel=0.15)


def test_ssds_sizes_are_shares_of_the_stretched_image(tmp_path, capsys):
    sides = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9]
    anchors_command([write_boxes(tmp_path / "a.json", [(side, side) for side in sides]), "--recipe", "ssd300"])
    np.testing.assert_allclose(fitted(capsys.readouterr().out)["scales"], sides, rtol=0.01)


@pytest.mark.parametrize("recipe", ["yolo_v3_tiny_coco", "faster_rcnn_resnet50_fpn_coco"])
def test_the_printed_options_set_the_anchors_of_a_training(recipe, tmp_path, capsys):
    anchors_command([write_boxes(tmp_path / "a.json", [*SHARES, (0.7, 0.8)]), "--recipe", recipe])
    printed = capsys.readouterr().out
    detkit, train, *argv = shlex.split(printed[printed.index("detkit train") :].replace("\\\n", ""))
    assert (detkit, train) == ("detkit", "train")
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    assert argv[:2] == ["--config", recipe]
    argv[1] = str(recipe_path(recipe))
    parsed = parse(parser, argv).as_dict()["model"]["init_args"]
    part = parsed["rpn" if "rcnn" in recipe else "head"]["init_args"]
    for key, value in fitted(printed).items():
        assert np.array_equal(part[key], value)


def test_all_formats_of_a_folder_give_the_same_anchors(tmp_path, capsys):
    options = ShapesOptions(counts={"train": 6, "val": 1, "test": 1}, image_size=(64, 96), crowd_probability=0.0)
    coco = draw_shapes(tmp_path / "coco", options)
    found = []
    for format in ("coco", "voc", "yolo"):
        if format != "coco":
            convert(coco, tmp_path / format, format)
        anchors_command([str(tmp_path / format), "--recipe", "yolo_v2_shapes"])
        printed = capsys.readouterr().out
        assert f"--data.root {tmp_path / format}" in printed
        found.append(np.array(fitted(printed)["anchors"]))
    np.testing.assert_allclose(found[1:], [found[0]] * 2, atol=0.2)


def test_what_has_no_anchors_is_refused(tmp_path):
    boxes = write_boxes(tmp_path / "a.json", SHARES)
    with pytest.raises(InputError, match="FCOS has no anchors"):
        anchors_command([boxes, "--recipe", "fcos_shapes"])
    (tmp_path / "mine.yaml").write_text("data: {batch_size: 2}")
    with pytest.raises(InputError, match="has no model"):
        anchors_command([boxes, "--recipe", str(tmp_path / "mine.yaml")])


def test_too_few_boxes_are_refused(tmp_path, capsys):
    only_crowds = write_boxes(tmp_path / "a.json", [], SHARES)
    assert run(anchors_command, [only_crowds, "--recipe", "yolo_v2_shapes"]) == 2
    assert "no boxes, to which anchors could be fitted" in capsys.readouterr().err
    content = json.loads((tmp_path / "a.json").read_text())
    del content["images"][3]["width"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"does not state width and height of 3\.jpg"):
        anchors_command([only_crowds, "--recipe", "yolo_v2_shapes"])
