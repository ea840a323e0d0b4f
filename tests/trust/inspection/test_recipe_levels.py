"""Objects are counted on the level that is to predict them; those that are too small or too large are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_data import change, shapes

from detkit.engine.commands.inspect.recipe_on_data import preview_images, recipe_subject
from detkit.recipes import recipe_path
from detkit.trust.inspection.recipe_levels import network_objects, recipe_findings

SIDES = (2, 0.4, 20, 60, 100)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """One image of 128 x 128 pixels with squares of these sides."""
    root = shapes(tmp_path_factory.mktemp("squares") / "data", counts={"train": 1, "val": 1})

    def squares(content):
        own = content["images"][0]
        x = (own["width"] - 100) / 2
        content["annotations"] = [
            {"id": k + 1, "image_id": own["id"], "category_id": 1, "bbox": [x, 4, side, side]}
            for k, side in enumerate(SIDES)
        ]

    change(root, "train", squares)
    return root


def subject_of(recipe: str, root: Path, *settings: str):
    return recipe_subject(recipe_path(recipe), [f"--data.root={root}", "--data.num_workers=0", *settings])


def test_sizes_are_those_of_the_network(root):
    subject = subject_of("fcos_shapes", root)
    objects = network_objects(subject)
    size = tuple(subject.data.train_dataset.image_sizes[0].tolist())
    matrix = subject.model.preprocess.place(size).matrix
    scale = (matrix[0][0] * matrix[1][1]) ** 0.5
    assert objects.scales.tolist() == pytest.approx([scale * side for side in SIDES], rel=1e-5)


def test_levels_are_those_of_the_ranges_of_fcos(root):
    """Tian et al. 2019, section 3.2: a location belongs to the level whose range holds its longest distance to a side.

    The ranges of the recipe end at 12 and 24 pixels. The center of a square of 100 pixels, 78 in the network, is 39
    pixels from its sides; that of 20, 16 in the network, is 8 pixels from them, as are most locations near it.
    """
    objects = network_objects(subject_of("fcos_shapes", root))
    levels = dict(zip(SIDES, objects.levels.tolist(), strict=True))
    assert objects.strides == [4, 8, 16]
    assert (levels[20], levels[100]) == (0, 2)


def test_too_small_objects_are_named(root):
    tables, problems = recipe_findings(subject_of("ssd_shapes", root))
    (table,) = tables
    assert sum(row[1] for row in table.rows) == len(SIDES)
    found = {problem.name: problem for problem in problems}
    assert found["objects_under_a_pixel"].count == 1
    assert found["objects_under_a_cell"].count == 2
    assert found["objects_under_a_pixel"].examples[0].startswith("image 1, object 1: 0.")


def test_objects_larger_than_any_anchor_are_named(root):
    anchors = "--model.head.init_args.anchors=[[[4,4],[5,5],[6,6]],[[7,7],[8,8],[9,9]],[[9,9],[10,10],[11,11]]]"
    _, problems = recipe_findings(subject_of("yolo_v3_shapes", root, anchors))
    (problem,) = [one for one in problems if one.name == "objects_over_anchors"]
    assert problem.count == 2  # of 47 and 78 pixels; 16 is less than one and a half times as large
    assert "the largest anchor, of 11 pixels" in problem.sentence
    assert "anchor_shapes" in {one.name for one in problems}


def test_a_classifier_has_no_levels(root):
    assert recipe_findings(subject_of("classification_shapes", root, "--data.image_class=largest")) == ([], [])


def test_previews_are_of_the_augmentation(root):
    option = "--data.augmentation.init_args"
    (((plain,),), ((mirrored,),)) = (
        preview_images(
            subject_of("fcos_shapes", root, f"{option}.horizontal_flip={flip}", f"{option}.vertical_flip=0"), 1
        )
        for flip in (0, 1)
    )
    difference = np.abs(plain.image[:, ::-1].astype(float) - mirrored.image)
    assert np.median(difference) == 0  # but for the names of the classes
    assert (plain.image != mirrored.image).any()
