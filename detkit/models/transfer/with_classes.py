"""`with_classes`: a model for other classes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TypeVar

from torch import nn

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows, outputs_of
from detkit.models.detector import VisionModel
from detkit.models.folding import forget
from detkit.models.transfer.class_layers import class_layers
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.transfer.load_given import load_given
from detkit.structures import Category

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
    made = [Category(index + 1, one) if isinstance(one, str) else one for index, one in enumerate(categories)]
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
    load_given(copy, GivenWeights.of(model, f"the {type(model).__name__}"))
    return copy


def _resized(layer: nn.Module, rows: ClassRows, count: int) -> nn.Module:
    """A new layer like `layer` with the outputs of `count` classes, initialized as in a new head."""
    outputs, bias = rows.outputs(count), getattr(layer, "bias", None) is not None
    new: nn.Module
    if isinstance(layer, nn.Linear):
        new = nn.Linear(layer.in_features, outputs, bias)
    elif isinstance(layer, nn.Conv2d):
        new = nn.Conv2d(
            layer.in_channels, outputs, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups,
            bias, layer.padding_mode,
        )  # fmt: skip
    else:
        raise InputError(f"a {type(layer).__name__} of {outputs_of(layer)} outputs cannot be made for other classes")
    rows.initialize(new)
    weight = layer.weight
    return new.to(device=weight.device, dtype=weight.dtype).train(layer.training)


def _set_num_classes(model: nn.Module, before: int, after: int) -> None:
    for module in model.modules():
        if module.__dict__.get("num_classes") == before:
            module.__dict__["num_classes"] = after
