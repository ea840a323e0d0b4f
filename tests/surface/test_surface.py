"""What users of 0e2a452 could name is still there: names, parameters, config keys, commands."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path

import pytest
from inventory import differences, parameters, surface
from renamed import MISSING_NAMES, PARTS_OF_COMMANDS, RENAMED_KEYS, RENAMED_PARAMETERS

from detkit.deprecation.renamed_arguments import renamed_argument

OLD = json.loads((Path(__file__).parent / "surface_0e2a452.json").read_text())


@pytest.fixture(scope="module")
def now():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return surface()


@pytest.mark.parametrize("package", OLD["names"])
def test_exported_names_are_imported_from_where_they_were(package):
    gone = [name for name in OLD["names"][package] if not _has(package, name)]
    assert not gone


def test_modules_keep_their_public_names():
    defined = [*OLD["parameters"], *(f"{module}.{name}" for module, names in OLD["values"].items() for name in names)]
    gone = {name for name in defined if not _has(*name.rsplit(".", 1))}
    assert sorted(gone) == sorted(MISSING_NAMES), (gone - set(MISSING_NAMES), set(MISSING_NAMES) - gone)


def test_exported_callables_take_the_parameters_they_took():
    gone = []
    for name in _exported():
        module, _, attribute = name.rpartition(".")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            taken = parameters(getattr(importlib.import_module(module), attribute))
        takes_any = any(parameter.startswith("**") for parameter in taken)
        renamed = {old for old in OLD["parameters"][name] if renamed_argument(attribute, old) in taken}
        known = {*taken, *renamed}
        gone += [f"{name}.{old}" for old in OLD["parameters"][name] if old not in known and not takes_any]
    assert sorted(gone) == sorted(RENAMED_PARAMETERS)


def test_commands_take_the_keys_they_took(now):
    gone = [
        f"{command} {key}" for command, keys in OLD["keys"].items() for key in keys if key not in now["keys"][command]
    ]
    assert sorted(gone) == sorted(key for key in RENAMED_KEYS if not key.startswith("detkit."))


def test_classes_take_the_init_args_they_took(now):
    gone = []
    for name, keys in OLD["init_args"].items():
        if name not in MISSING_NAMES and not _is_made_as_torch_makes_it(name):
            taken = now["init_args"].get(name) or _keys_of(name)
            owner = name.rpartition(".")[2]
            gone += [f"{name} {key}" for key in keys if key not in taken and renamed_argument(owner, key) not in taken]
    assert sorted(gone) == sorted(key for key in RENAMED_KEYS if key.startswith("detkit."))


def test_commands_are_there(now):
    for place, commands in OLD["commands"].items():
        assert set(commands) - set(PARTS_OF_COMMANDS) <= set(now["commands"][place])


def test_differences_name_what_is_gone_and_what_is_new():
    old = {"keys": {"train": ["a", "b"], "eval": ["c"]}}
    new = {"keys": {"train": ["b", "d"]}}
    assert differences(old, new) == ["- keys: eval", "- keys: train: a", "+ keys: train: d"]
    assert differences(old, old) == []


def _has(module: str, name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return hasattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            return False


def _exported() -> list[str]:
    """The qualified names of what the packages' ``__all__`` name, where they were defined."""
    exported = {(package, name) for package, names in OLD["names"].items() for name in names}
    return [
        name
        for name in OLD["parameters"]
        if any(name.startswith(f"{package}.") and name.endswith(f".{short}") for package, short in exported)
    ]


def _keys_of(name: str) -> list[str]:
    """The init_args of a class that is now an alias of one that is defined elsewhere."""
    from inventory import class_keys

    module, _, attribute = name.rpartition(".")
    return class_keys(getattr(importlib.import_module(module), attribute))


def _is_made_as_torch_makes_it(name: str) -> bool:
    """Whether a class takes what the class of torch under it takes, which is for torch's version to say."""
    module, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = getattr(importlib.import_module(module), attribute)
    return getattr(getattr(made, "__init__", None), "__module__", "").startswith("torch.")
