"""`with_classes`: a model for other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from torch import nn

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows, outputs_of
from detkit.models.folding import forget
from detkit.models.transfer.class_layers import class_layers
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.transfer.load_given import load_given
from detkit.models.vision_model import VisionModel
from detkit.object_config import config_of, record_config
from detkit.structures import Category
from detkit.structures.model_categories import categories_from

Model = TypeVar("Model", bound=VisionModel)


def with_classes(model: Model, categories: Sequence[Category | str]) -> Model:
    """A copy of `model` for other classes, to be fine-tuned.

    Classes of the same name keep their outputs, the others begin as those of a new model do. All other weights are
    copied. The report is logged.

    Args:
        model: with classes; `detkit.load`, `detkit.weights.from_torchvision` and the like make one.
        categories: of the copy, in the order of its labels; or their names.

    Raises:
        InputError: there are no categories or one twice, or a head of the model does not say which of its outputs
            belong to classes.
    """
    made = categories_from(categories)
    names = [category.name for category in made]
    if not names or len(set(names)) < len(names):
        raise InputError(f"a model needs classes, each of another name, got {names}")
    layers = class_layers(model)
    if layers.unknown or model.num_classes is None:
        head = ", ".join(layers.unknown) or "it"
        raise InputError(
            f"the classes of a {type(model).__name__} cannot be replaced: {head} does not say which outputs belong to "
            "classes (class_rows)"
        )
    forget(model)
    copy = deepcopy(model)
    copy.categories = made
    for name, rows in layers.rows.items():
        if rows.names == "classes":
            layer = copy.get_submodule(name)
            copy.set_submodule(name, _resized(layer, rows, len(made)))
    _set_num_classes(copy, model.num_classes, len(made))
    _record_num_classes(copy, model.num_classes, len(made))
    load_given(copy, GivenWeights.of(model, f"the {type(model).__name__}"))
    return copy


def _resized(layer: nn.Module, rows: ClassRows, count: int) -> nn.Module:
    """A new layer like `layer` with the outputs of `count` classes, initialized as in a new head."""
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        raise InputError(f"a {type(layer).__name__} of {outputs_of(layer)} outputs cannot be made for other classes")
    weight, outputs = layer.weight, rows.outputs(count)
    new = deepcopy(layer)
    new.weight = nn.Parameter(weight.new_empty(outputs, *weight.shape[1:]))
    if layer.bias is not None:
        new.bias = nn.Parameter(weight.new_empty(outputs))
    if isinstance(new, nn.Linear):
        new.out_features = outputs
    else:
        new.out_channels = outputs
    rows.initialize(new)
    return new


def _set_num_classes(model: nn.Module, before: int, after: int) -> None:
    for module in model.modules():
        if module.__dict__.get("num_classes") == before:
            module.__dict__["num_classes"] = after


def _record_num_classes(model: VisionModel, before: int, after: int) -> None:
    """Let the config of `model` build the new heads, if it has one."""
    try:
        config = config_of(model)
    except InputError:
        return  # it cannot be saved, as before
    record_config(model, _with_num_classes(config, before, after))


def _with_num_classes(config: Any, before: int, after: int) -> Any:
    if isinstance(config, Mapping):
        return {
            key: after if key == "num_classes" and value == before else _with_num_classes(value, before, after)
            for key, value in config.items()
        }
    return [_with_num_classes(one, before, after) for one in config] if isinstance(config, list) else config
