"""Checking what a checkpoint may build: detkit's own classes, torch's layers, and packages trusted by name.

All names are checked before the config is parsed, since parsing imports what it names. `parse_record` then reads no
text as a config, so there is no name in it that this check has not seen.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from detkit.errors import InputError


def check_trusted(config: Any, trust: Sequence[str], path: str | Path) -> None:
    """Refuse any name in `config` of code outside of detkit and `trust`, before anything is imported.

    Raises:
        InputError: it names the code, and the package to trust.
    """
    packages = ("detkit", *trust)
    for key, name in _names(config):
        package = name.partition(".")[0]
        if package in packages:
            part = _resolve(name, path)
            owner = (getattr(part, "__module__", None) or "").partition(".")[0]
            if owner == "detkit" and not isinstance(part, type):  # `detkit.load` would build what another file trusts
                raise InputError(f"{path} asks for {name}, which is no class: of detkit only classes can be built.")
            if owner in packages:
                continue
        elif name.startswith("torch.nn."):
            layer = _resolve(name, path)
            if isinstance(layer, type) and issubclass(layer, torch.nn.Module):
                continue
        elif key != "class_path" and not _is_installed(name):
            continue  # a word with a dot that is no import path, such as the name of a timm model
        raise InputError(
            f"{path} asks for {name}, which is not part of {' or '.join(packages)}: if you trust it, load the "
            f'checkpoint with trust=["{package}"] (on the command line: --trust {package}).'
        )


def packages_of(config: Any) -> list[str]:
    """The installed packages whose code a config names."""
    return sorted({name.partition(".")[0] for _, name in _names(config) if _is_installed(name)})


def _names(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The strings in `config` that can name code, with the key that they stand at: all words with a dot.

    A short class name imports nothing; it is checked after it is resolved.
    """
    if isinstance(config, Mapping):
        for name, value in config.items():
            if key != "loss_weights":  # which has names of losses for keys, such as mesh.edge
                yield from _names(name, "")
            yield from _names(value, name)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _names(value, key)
    elif isinstance(config, str) and "." in config:
        yield key, config.strip()


def _is_installed(name: str) -> bool:
    """Whether importing the first word of a dotted `name` would find something; it is not imported.

    A folder without ``__init__.py`` is a package too, and so any folder of data in the working folder: it counts where
    it has a module of the name's second word.
    """
    package, _, rest = name.partition(".")
    try:
        spec = find_spec(package)
        if spec is None or spec.origin is not None or spec.submodule_search_locations is None:
            return spec is not None
        module = f"{package}.{rest.partition('.')[0]}"
        return PathFinder.find_spec(module, list(spec.submodule_search_locations)) is not None
    except (ImportError, ValueError, AttributeError):  # of no name at all, or of a module that is being imported
        return False


def _resolve(name: str, path: str | Path) -> Any:
    """The object of a trusted dotted name."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"{path} asks for {name}, which this installation does not have ({error}).") from error
