"""Settings given in Python as the arguments of a command line, which the commands parse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from torch import Tensor

from detkit.errors import InputError
from detkit.object_config import Described, described

SECTIONS = ("data", "trainer")
"""Groups of arguments, which have no value of their own."""

_KEPT = (
    bool, int, float, str, type(None), type, set, frozenset, range, partial, Path, Described, Tensor, np.generic,
    np.ndarray, torch.device,
)  # fmt: skip
"""What `described` gives as it was made; objects of other packages may have changed their arguments."""

Data = str | Path | Mapping[str, Any]
"""A folder, or arguments of `detkit.data.DataModule` by name."""


def as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Settings as ``--KEY=VALUE``, in their order.

    Args:
        settings: values by key, also by dotted key, also nested: ``{"optimizer": {"init_args": {"lr": 0.01}}}`` is
            ``{"optimizer.init_args.lr": 0.01}``.

    Raises:
        InputError: a value cannot stand in a config.
    """
    return [argument for key, value in settings.items() for argument in _of(key, value)]


def take_objects(settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the trainer's callbacks, loggers and other objects from `settings`, which no recipe holds.

    Returns:
        The objects, by the trainer's names.
    """
    if isinstance(trainer := settings.pop("trainer", None), Mapping):
        settings.update({f"trainer.{key}": value for key, value in trainer.items()})
    names = [key for key, value in settings.items() if key.startswith("trainer.") and _has_objects(value)]
    return {key.removeprefix("trainer."): settings.pop(key) for key in names}


def _has_objects(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_objects(one) for one in value)
    return isinstance(value, (Callback, Logger, Profiler))


def data_settings(data: Data | None) -> dict[str, Any]:
    """The settings that `data` stands for.

    Raises:
        InputError: it is neither a folder nor arguments.
    """
    if data is None:
        return {}
    if isinstance(data, (str, Path)):
        return {"data.root": data}
    if isinstance(data, Mapping):
        return {f"data.{key}": value for key, value in data.items()}
    raise InputError(
        f'data is a {type(data).__name__}: give the path of a folder, or arguments of DataModule such as {{"root": '
        '"my/folder", "batch_size": 4}.'
    )


def trusted(settings: dict[str, Any]) -> list[str]:
    """Remove the packages that may be built from `settings`; gives them as arguments, each an option of its own."""
    return [f"--trust={package}" for package in many(settings.pop("trust", []))]


def many(value: str | Sequence[str]) -> list[str]:
    """One value or several as a list."""
    return [value] if isinstance(value, str) else list(value)


def device_settings(device: str | int | None) -> dict[str, Any]:
    """The trainer's settings for a device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``auto`` or the number of a GPU."""
    if device is None:
        return {}
    kind, _, number = (f"cuda:{device}" if isinstance(device, int) else str(device)).partition(":")
    return {
        "trainer.accelerator": {"cuda": "gpu"}.get(kind, kind),
        "trainer.devices": [int(number)] if number.isdecimal() else 1,
    }


def _of(key: str, value: Any) -> list[str]:
    """One setting; those within a section, and arguments of a class that is not named, one by one."""
    if isinstance(value, Mapping) and (key in SECTIONS or value.keys() == {"init_args"}):
        return [argument for name, inner in value.items() for argument in _of(f"{key}.{name}", inner)]
    if isinstance(value, bool) and value and key == "overwrite":
        return ["--overwrite"]  # which has no value
    if key == "overwrite":
        return []
    return [f"--{key}={_text(key, value)}"]


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _number(value)
    plain = _checked(key, value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _number(value: float) -> str:
    """A float as YAML reads it: ``1e-05`` would be a text there."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return text if "." in mantissa else f"{mantissa}.0{exponent}{power}" if exponent else text


def _checked(key: str, value: Any) -> Any:
    """Plain values.

    Raises:
        InputError: it is an object of another package.
    """
    if isinstance(value, Mapping):
        return {str(name): _checked(f"{key}.{name}", one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(f"{key}[{index}]", one) for index, one in enumerate(value)]
    is_kept = isinstance(value, _KEPT) or type(value).__module__.partition(".")[0] == "detkit"
    try:
        if is_kept:
            return described(value)
    except InputError:
        pass
    raise InputError(
        f"{key} is a {type(value).__name__}, which a recipe cannot hold: give its class and arguments, as in "
        f'{key}={{"class_path": "{type(value).__module__}.{type(value).__qualname__}", "init_args": {{}}}}.'
    )
