"""The layers of a model whose outputs belong to classes."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from detkit.heads import DenseHead, ImageHead, RegionBranch
from detkit.heads.class_rows import ClassRows, outputs_of


class ClassLayers(NamedTuple):
    """Where the outputs of classes are.

    Args:
        rows: those of each layer, by its name in the model.
        unknown: names of the heads that do not say which of their outputs belong to classes; "" is the model itself.
    """

    rows: dict[str, ClassRows]
    unknown: list[str]


def class_layers(model: nn.Module) -> ClassLayers:
    """The layers of `model` whose outputs belong to classes, as its modules declare them by ``class_rows()``.

    A module whose layers do not have the outputs that it declares, such as a subclass with other layers, is unknown.
    """
    rows: dict[str, ClassRows] = {}
    unknown: list[str] = []
    declared = False
    for name, module in model.named_modules():
        declares = getattr(module, "class_rows", None)
        given: dict[str, ClassRows] | None = declares() if callable(declares) else None
        is_head = isinstance(module, (DenseHead, ImageHead, RegionBranch))
        declared |= is_head or given is not None
        if given is not None and all(_fits(module, layer, one) for layer, one in given.items()):
            rows |= {f"{name}.{layer}" if name else layer: one for layer, one in given.items()}
        elif is_head or given is not None:
            unknown.append(name)
    return ClassLayers(rows, unknown if declared else [""])


def _fits(module: nn.Module, name: str, rows: ClassRows) -> bool:
    try:
        outputs = outputs_of(module.get_submodule(name))
    except AttributeError:
        return False
    return outputs is not None and rows.count(outputs) is not None
