"""The recipes for one's own data are built from a folder, and name weights to start from."""

import pytest
import torch

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.checkpoint import build_model
from detkit.engine.commands.anchors.recipe_model import recipe_model
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.files import read_yaml
from detkit.recipes import recipe_facts, recipe_names, recipe_path

OF_DATA = (
    "_coco", "_voc07", "_voc", "_camvid", "_isbi", "_imagenet", "_imagenet_large_batch", "_bccd", "_nuclei", "_shapes",
    "_pix3d", "_shapenet", "_shapes3d",
)  # fmt: skip
OWN = [name for name in recipe_names() if not name.endswith(OF_DATA)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    options = ShapesOptions(counts={"train": 2, "val": 1, "test": 1}, image_size=(48, 64))
    return draw_shapes(tmp_path_factory.mktemp("own") / "shapes", options)


def test_each_names_the_weights_that_it_starts_from():
    facts = recipe_facts()
    assert len(OWN) == 14
    for name in OWN:
        assert facts[name].weights, name


@pytest.mark.parametrize("name", OWN)
def test_a_recipe_for_own_data_can_be_built(name, folder):
    """Its training, and on the meta device its model, whose weights are not downloaded here."""
    recipe = read_yaml(recipe_path(name))
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    parsed = parse(parser, ["--config", str(recipe_path(name)), f"--data.root={folder}"])
    assert parsed.start_from == recipe.get("start_from")
    with torch.device("meta"):
        model = build_model(recipe_model(name, classes=5), (), name)
    assert model.num_classes == 5
    assert parsed.lr_batch_size == parsed.data.batch_size
    assert parsed.trainer.gradient_clip_val > 0
