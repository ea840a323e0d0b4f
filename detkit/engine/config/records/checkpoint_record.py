"""The shape of a checkpoint: which entries it has, and of which types, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detkit.engine.config.records.plain_values import MOST_SIZE, check_plain
from detkit.errors import InputError
from detkit.structures import Category, WeightsSource

WEIGHTS = ("state_dict", "ema")
"""The entries with weights; the second is not in every checkpoint."""


def check_record(content: Any, path: str | Path) -> None:
    """Refuse what is not the content of a checkpoint of detkit.

    Its ``detkit`` must consist of plain values: ``model`` with a ``class_path``, ``categories``, and the ``config`` of
    the run if there was one. Its weights must be tensors by name.

    Raises:
        InputError: it names the entry.
    """
    record = content.get("detkit") if isinstance(content, dict) else None
    if not isinstance(record, dict) or not {"model", "categories"} <= record.keys() or "state_dict" not in content:
        raise InputError(f"{path} is not a checkpoint of detkit: it does not say how to build its model.")
    check_plain(record, f"{path}: detkit")
    check_plain(record["model"], f"{path}: detkit.model", MOST_SIZE)
    _check_model(record["model"], path)
    if not isinstance(record.get("config") or {}, dict):
        raise InputError(f"{path}: detkit.config must hold the recipe of the run, not {_kind(record['config'])}.")
    categories_in(record, path)
    provenance_in(record, path)
    for name in WEIGHTS:
        if name == "state_dict" or content.get(name) is not None:
            _check_weights(content[name], f"{path}: {name}")


def categories_in(record: Mapping[str, Any], path: str | Path) -> list[Category]:
    """The categories of a record, in the order of the labels.

    Raises:
        InputError: they are no categories.
    """
    entries = record["categories"]
    if not isinstance(entries, (list, tuple)):
        raise InputError(f"{path}: detkit.categories must be a list of categories, not {_kind(entries)}.")
    return [_category(entry, f"{path}: detkit.categories[{number}]") for number, entry in enumerate(entries)]


def provenance_in(record: Mapping[str, Any], path: str | Path) -> tuple[WeightsSource, ...] | None:
    """Where the weights of a record come from; None where it does not say, as in older releases.

    Raises:
        InputError: it is no list of sources.
    """
    entries = record.get("provenance")
    if entries is None:
        return None
    if not isinstance(entries, (list, tuple)):
        raise InputError(f"{path}: detkit.provenance must be a list of sources of weights, not {_kind(entries)}.")
    return tuple(_source(entry, f"{path}: detkit.provenance[{number}]") for number, entry in enumerate(entries))


def _source(entry: Any, name: str) -> WeightsSource:
    known = {field.name for field in fields(WeightsSource)}
    is_source = isinstance(entry, dict) and entry.keys() == known
    if not is_source or not all(isinstance(value, str) for value in entry.values()):
        raise InputError(f"{name} is no source of weights: it must have {', '.join(sorted(known))}, all texts.")
    return WeightsSource(**entry)


def _category(entry: Any, name: str) -> Category:
    try:
        category = Category(**entry)
        hash(category)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no category of a model ({error}).") from error
    if not isinstance(category.name, str):
        raise InputError(f"{name} has the name {category.name!r}, which is no text.")
    return category


def _check_model(model: Any, path: str | Path) -> None:
    if not isinstance(model, dict) or not isinstance(model.get("class_path"), str):
        raise InputError(f"{path}: detkit.model must have a class_path, which names the class of the model.")
    if not isinstance(model.get("init_args") or {}, dict):
        raise InputError(f"{path}: detkit.model.init_args must be arguments by name, not {_kind(model['init_args'])}.")


def _check_weights(weights: Any, name: str) -> None:
    if not isinstance(weights, Mapping):
        raise InputError(f"{name} must hold tensors by name, not {_kind(weights)}.")
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(f"{name} must hold tensors by name, but {key!r} is {_kind(value)}.")
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            raise InputError(f"{name}: {key} is not a dense tensor of real numbers.")


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
