"""Recipes that start from torchvision's weights build the model that these are imported into, and can leave again."""

import dataclasses
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from detkit.engine.checkpoint import build_model
from detkit.engine.commands.anchors.recipe_model import recipe_model
from detkit.errors import InputError
from detkit.files import read_yaml
from detkit.recipes import recipe_names, recipe_path
from detkit.weights import from_torchvision, to_torchvision

# Published with frozen batch norm, whose files count no batches.
FROZEN = {"keypointrcnn_resnet50_fpn", "fcos_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"}
QUICK = {"ssdlite_mobilenet_v3"}
OWN_CHOICES = {
    "run_lengths": "masks need less memory",
    "frozen_stages": "of the recipe",
    "load_report": "of a file of weights",
}
PARTS = {
    "cascade_rcnn_resnet50_fpn": ("backbone.", "neck.", "rpn."),
    "mesh_rcnn_resnet50_fpn_pix3d": ("backbone.", "neck.", "rpn."),
}
"""What a recipe with heads that torchvision does not have takes of the imported model."""
STARTS = {
    name: start.removeprefix("torchvision:")
    for name in recipe_names()
    if str(start := read_yaml(recipe_path(name)).get("start_from")).startswith("torchvision:")
}


def imported(name: str) -> nn.Module:
    """The model of torchvision's `name` with random weights, as published ones are imported."""
    theirs = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=91)
    state = theirs.state_dict()
    if name in FROZEN:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return from_torchvision(name, state)


def shapes(model: nn.Module, parts: tuple[str, ...] = ("",)) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items() if name.startswith(parts)}


def weights(model: nn.Module, parts: tuple[str, ...]) -> dict[str, torch.Size]:
    """`shapes`, also of a model with frozen batch norm, which counts no batches."""
    return {name: shape for name, shape in shapes(model, parts).items() if not name.endswith("num_batches_tracked")}


def settings(model: nn.Module) -> dict[str, Any]:
    """The plain attributes of all modules, and their buffers that are no weights."""
    plain = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            is_plain = dataclasses.is_dataclass(value) or isinstance(value, (bool, int, float, str, tuple, list))
            if is_plain and not name.startswith("_") and name not in OWN_CHOICES:
                plain[f"{path}.{name}"] = comparable(value)
    weights = model.state_dict()
    buffers = {name: comparable(value.tolist()) for name, value in model.named_buffers() if name not in weights}
    return plain | buffers


def comparable(value: Any) -> Any:
    """A setting as it counts: 8 is 8.0, and a list is a tuple."""
    if isinstance(value, (tuple, list)):
        return tuple(comparable(one) for one in value)
    return round(float(value), 6) if isinstance(value, (int, float)) else repr(value)


def test_all_families_of_torchvision_have_a_recipe():
    assert len(STARTS) == 10


EVERY = pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in STARTS]
)


@EVERY
def test_a_recipe_is_the_imported_model(recipe):
    theirs, ours = imported(STARTS[recipe]), build_model(recipe_model(recipe, 90), (), recipe)
    if parts := PARTS.get(recipe):
        assert weights(ours, parts) == weights(theirs, parts)
        return
    assert type(ours) is type(theirs)
    assert shapes(ours) == shapes(theirs)
    assert settings(ours) == settings(theirs)


@EVERY
def test_what_a_recipe_trains_can_leave_for_torchvision(recipe):
    model = build_model(recipe_model(recipe, 3), (), recipe)
    if recipe in PARTS:
        with pytest.raises(InputError, match=f"no detector with the layers of this {type(model).__name__}"):
            to_torchvision(model)
        return
    exported = to_torchvision(model)
    keypoints = {"num_keypoints": 17} if recipe.startswith("keypoint") else {}
    assert exported.name == STARTS[recipe]
    assert exported.arguments == {"weights": None, "weights_backbone": None, "num_classes": 4} | keypoints
