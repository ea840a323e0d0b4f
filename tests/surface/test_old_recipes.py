"""The recipes of 0e2a452 are read as they were, key by key, and build the models that they built."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from renamed import RENAMED_KEYS

from detkit.engine.checkpoint import build_model
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments

HERE = Path(__file__).parent
TEXTS = json.loads((HERE / "configs_0e2a452.json").read_text())
MODELS = json.loads((HERE / "models_0e2a452.json").read_text())
CLASSES = 5


@pytest.fixture(params=sorted(TEXTS))
def name(request):
    return request.param


def test_all_recipes_are_here():
    assert len(TEXTS) == 44
    assert TEXTS.keys() == MODELS.keys()


def test_what_a_recipe_says_is_what_is_parsed(name, tmp_path):
    """Of the run; the model's part is compared by the model."""
    recipe = yaml.safe_load(TEXTS[name])
    parsed = parsed_recipe(recipe, tmp_path).as_dict()
    for key, value in leaves({section: part for section, part in recipe.items() if section != "model"}):
        if f"train {key}" not in RENAMED_KEYS:
            assert same(at(parsed, key), value), key


def test_a_recipe_builds_the_model_that_it_built(name, tmp_path):
    """On the meta device, without the weights that would be downloaded."""
    assert described(built(TEXTS[name], tmp_path)) == MODELS[name]


def built(text: str, folder: Path) -> torch.nn.Module:
    """The model of a recipe, with `CLASSES` classes."""
    recipe = without_downloads(yaml.safe_load(text))
    model = parsed_recipe(recipe, folder).as_dict()["model"]
    model["init_args"]["num_classes"] = CLASSES
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return build_model(model, (), "recipe")


def described(model: torch.nn.Module) -> dict[str, Any]:
    """What a model is, in words and numbers that do not depend on how it is written."""
    preprocess = model.preprocess
    kind = type(preprocess).__name__
    # The others have these as well at 0e2a452, where they mean nothing.
    sizes = ("min_size", "max_size") if kind.endswith("ShortestEdge") else ("size", "shorter_side")
    return {
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "tensors": len(model.state_dict()),
        "learns_from": sorted({"masks", "keypoints", "image_label"} & set(model.learns_from)),
        "preprocess": [kind, *(listed(getattr(preprocess, size)) for size in sizes if hasattr(preprocess, size))],
    }


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def parsed_recipe(recipe: dict[str, Any], folder: Path) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return parse(parser, ["--config", str(path)])


def without_downloads(part: Any) -> Any:
    """`part` of a recipe, with no `weights` anywhere in it."""
    if isinstance(part, dict):
        return {key: None if key == "weights" else without_downloads(value) for key, value in part.items()}
    return [without_downloads(value) for value in part] if isinstance(part, list) else part


def leaves(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its dotted key; lists count as values."""
    if isinstance(part, dict) and part:
        for key, value in part.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, part


def at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def same(result: Any, said: Any) -> bool:
    """Whether a parsed value is what was written; a short name of a class became its import path."""
    if isinstance(said, dict):
        return all(same(result[key], value) for key, value in said.items())
    if isinstance(said, (list, tuple)):
        return len(result) == len(said) and all(same(*pair) for pair in zip(result, said, strict=True))
    if isinstance(said, str):
        return str(result) == said or str(result).endswith(f".{said.rpartition('.')[2]}")
    return result == said
