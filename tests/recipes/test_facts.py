"""The facts of recipes: read from one file, checked, and empty where it says nothing."""

import json

import pytest

from detkit.errors import InputError
from detkit.recipes import Facts, recipe_facts, recipe_names

SSD = {
    "task": "detection",
    "backbone": "vgg16",
    "parameters": 26285486,
    "classes": 20,
    "weights": ["torchvision:vgg16"],
}


def zoo(folder, content):
    file = folder / "zoo.json"
    file.write_text(json.dumps(content))
    return file


def test_every_recipe_has_an_entry(tmp_path):
    facts = recipe_facts(zoo(tmp_path, {"ssd300_voc07": SSD}))
    assert list(facts) == recipe_names()
    assert facts["ssd300_voc07"] == Facts(**SSD)
    assert facts["ssd_shapes"] == Facts()


def test_without_a_file_nothing_is_known(tmp_path):
    assert all(one == Facts() for one in recipe_facts(tmp_path / "none.json").values())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], r"zoo\.json: it must hold an object"),
        ({"ssd300_voc07": 3}, r"zoo\.json: the facts of ssd300_voc07 must be an object, not 3"),
        ({"ssd300_voc07": {"taks": "detection"}}, r"zoo\.json: ssd300_voc07 has facts of no known kind: taks"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence):
        recipe_facts(zoo(tmp_path, content))
