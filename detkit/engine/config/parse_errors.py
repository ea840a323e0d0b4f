"""Turning jsonargparse's errors into one sentence: the key, where it was given, and similar keys."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from jsonargparse import ArgumentParser

from detkit.data import Augmentation, Mixing
from detkit.engine.optim import Schedule
from detkit.engine.trainer.trainer_options import describe_own
from detkit.errors import InputError, one_line
from detkit.evaluation import Evaluator
from detkit.files import read_yaml
from detkit.heads import Postprocess

KEY = r'Parser key "(?P<key>[^"]+)"'
CLASS = r"Problem with given class_path '(?P<cls>[^']+)'"
UNKNOWN = r"Option '(?P<unknown>[^']+)' is not accepted"
GROUP = r"Group '(?P<group>[^']+)' does not accept option '(?P<option>[^']+)'"
REQUIRED = r"the following arguments are required: (?P<required>.+)"
NAME = r"Expected a dot import path string: (?P<name>\S+)"
MODULE = r"No module named '(?P<module>[^']+)'"
SUBCLASS = r"Expected '(?P<other>[^']+)' to be a subclass of <class '(?:\w+\.)*(?P<base>\w+)'>"
MISSING = r"module '(?P<holder>[^']+)' has no attribute '(?P<missing>[^']+)'"
UNTYPED = r"Parameter '(?P<untyped>[^']+)' from '(?P<constructor>[^']+)\.__init__' does not specify a type"
OWN_OPTION = r"unrecognized arguments: --trainer\.(?P<option>\w+)|Group 'trainer' does not accept option '(?P<key>\w+)'"
TYPE = r"Expected an? (?P<type>(?!path|dot import).+?)(?:\. Got value: (?P<value>.*?))?(?:\. Got value: Namespace.*)?$"
STEPS = (KEY, CLASS, UNKNOWN, GROUP, REQUIRED, NAME, MODULE, SUBCLASS, MISSING, UNTYPED, TYPE)
STEP = re.compile("|".join(STEPS), re.MULTILINE)

PACKAGES = {
    "augmentation": "detkit.data",
    "mixing": "detkit.data",
    "model": "detkit.models",
    "backbone": "detkit.backbones",
    "neck": "detkit.necks",
    "evaluators": "detkit.evaluation",
    "preprocess": "detkit.preprocess",
    "region_pool": "detkit.models",
    "proposals": "detkit.proposals",
    "learner": "detkit.learners",
    "optimizer": "torch.optim",
    "schedule": "detkit.engine.optim",
}
HEADS = "detkit.heads"
KINDS = {"augmentation": Augmentation, "mixing": Mixing, "postprocess": Postprocess}


def describe_parse_error(error: Exception, parser: ArgumentParser, argv: Sequence[str]) -> str:
    """Describe in one sentence what is wrong with the command line `argv` or the config file that it names."""
    text = str(error)
    if match := re.search(OWN_OPTION, text):
        name = match["option"] or match["key"]
        if reason := describe_own(name):
            return f"{_place(f'trainer.{name}', argv)}: {reason}"
    if match := re.match(r"unrecognized arguments: (\S+)", text):
        option = match[1].split("=")[0]
        if not option.startswith("-"):
            return f"{option} on the command line has no option before it, as in --name {option}."
        key = option.lstrip("-")
        return f"The command line has no option {option}{_hint(key, _options(parser))}"
    if text.startswith("Unexpected config"):
        return f"{_place('', argv)}: this file holds no settings, which are lines such as `data: {{root: my/folder}}`."
    if match := re.search(r"File does not exist: '([^']+)'", text):
        return f"The file {match[1]} does not exist."
    if text.startswith("Problems parsing config:"):
        return f"{_place('', argv)}: {' '.join(text.removeprefix('Problems parsing config:').split())}."
    return _describe_config_error(text, parser, argv) or " ".join(text.split())


def _describe_config_error(text: str, parser: ArgumentParser, argv: Sequence[str]) -> str | None:
    keys: list[str] = []
    owner = None
    for step in STEP.finditer(text):
        groups = {name: value for name, value in step.groupdict().items() if value is not None}
        if "key" in groups:
            keys.append(groups["key"])
        elif "cls" in groups:
            owner = groups["cls"]
        else:
            return _sentence(groups, keys, _owner_after(text, step.end()) or owner, text, parser, argv)
    return None


def _sentence(
    groups: dict[str, str], keys: list[str], owner: str | None, text: str, parser: ArgumentParser, argv: Sequence[str]
) -> str | None:
    path = ".".join(keys)
    if "group" in groups:
        keys, groups = [groups["group"]], {"unknown": groups["option"]}
        path, owner = groups["unknown"] and keys[0], None
    if "unknown" in groups:
        full = ".".join([*keys, groups["unknown"]])
        if full.endswith("num_classes"):
            return f"{_place(full, argv)}: leave {full} out, the number of classes is that of the data."
        if owner is None:
            return f"{_place(full, argv)}: there is no option {full}{_hint(full, _options(parser))}"
        name, accepted = owner.rpartition(".")[2], _parameters(owner)
        key = groups["unknown"].split(".")[0]
        return f"{_place(full, argv)}: {path} ({name}) has no option {key}{_hint(key, accepted)}"
    if "required" in groups:
        missing = ", ".join(".".join([*keys, name.strip()]) for name in groups["required"].split(","))
        of = f" of {owner.rpartition('.')[2]}" if owner else ""
        return f"{_place(path, argv)}: {missing}{of} must be given."
    if "name" in groups:
        name, key = groups["name"], path.rpartition(".")[2]
        if key == "augmentation" and name.rpartition(".")[2] in _class_names("mixing"):
            return f"{_place(path, argv)}: {path} cannot be {name}, which mixes images: put it in data.mixing."
        return f"{_place(path, argv)}: {path} cannot be {name}, no such class fits{_hint(name, _class_names(key))}"
    if "module" in groups:
        named = f"is {owner}, but" if owner else "names a class, but"
        return (
            f"{_place(path, argv)}: {path} {named} there is no module {groups['module']}: "
            f"install it, or put its folder on PYTHONPATH."
        )
    if "missing" in groups:
        holder, missing = groups["holder"], groups["missing"]
        return f"{_place(path, argv)}: {path}: there is no {missing} in {holder}{_hint(missing, _contents(holder))}"
    if "untyped" in groups:
        name = groups["untyped"]
        return (
            f"{_place(path, argv)}: {path}: the argument {name} of {groups['constructor']} has no type, by which "
            f"configs are checked: write it in the constructor, as in {name}: str."
        )
    if "other" in groups:
        return f"{_place(path, argv)}: {path} cannot be {groups['other']}, which is no {groups['base']}."
    if not path:
        return None
    value = groups.get("value") or _given(text)
    if wrong := _wrong_file(value):
        return f"{_place(path, argv)}: {path}: {wrong}."
    kinds = _kinds(text, groups["type"])
    return f"{_place(path, argv)}: {path} must be {' or '.join(kinds)}, not {value}{_hint(value, _choices(text))}"


def _wrong_file(value: str) -> str | None:
    """What is wrong with the config file that `value` names; None: nothing, or it is no file."""
    try:
        if os.path.isfile(value):
            read_yaml(value)
    except (InputError, ValueError) as error:  # ValueError: no path has a null character
        return one_line(error) if isinstance(error, InputError) else None
    return None


def _place(key: str, argv: Sequence[str]) -> str:
    """Where `key` was given: "command line", or the name of the config file."""
    options = [_short(argument.split("=")[0].lstrip("-")) for argument in argv if argument.startswith("--")]
    parts = _short(key).split(".") if key else []
    if any(".".join(parts[:count]) in options for count in range(1, len(parts) + 1)):
        return "command line"
    files = [argv[at + 1] for at, argument in enumerate(argv[:-1]) if argument == "--config"]
    files += [argument.split("=", 1)[1] for argument in argv if argument.startswith("--config=")]
    return files[-1] if files else "command line"


def _short(key: str) -> str:
    """A key without ``init_args``, which may be left out on the command line."""
    return ".".join(part for part in key.split(".") if part != "init_args")


def _hint(word: str, known: Sequence[str]) -> str:
    """The end of a sentence: the names that are close to `word`, else those of its group."""
    close = get_close_matches(word, sorted(set(known)), n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    group = word.rpartition(".")[0]
    among = [name for name in known if name.rpartition(".")[0] == group]
    return f"; there are: {', '.join(sorted(among))}." if among else "."


def _options(parser: ArgumentParser) -> list[str]:
    """The keys of the parser, down to those that hold a class."""
    keys = parser.get_defaults().keys(branches=True)
    return [key for key in keys if not {"class_path", "init_args"} & set(key.split("."))]


def _parameters(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    return [*parameters, "class_path", "init_args"]


def _contents(module: str) -> list[str]:
    """The classes and modules of a module or package that has been imported."""
    holder = importlib.import_module(module)
    modules = [info.name for info in pkgutil.iter_modules(getattr(holder, "__path__", []))]
    return [name for name, value in vars(holder).items() if isinstance(value, type)] + modules


def _class_names(key: str) -> list[str]:
    """The classes of detkit, or of torch's optimizers, that a key of this name can have."""
    package = PACKAGES.get(key, HEADS)
    classes = [value for value in vars(importlib.import_module(package)).values() if isinstance(value, type)]
    parts = (torch.nn.Module, torch.optim.Optimizer, Schedule, Evaluator)
    kinds = (KINDS[key],) if key in KINDS else parts
    return [value.__name__ for value in classes if issubclass(value, kinds) and value.__module__.startswith(package)]


def _owner_after(text: str, end: int) -> str | None:
    """The class of a callable, which jsonargparse names after the problem, in the same line."""
    match = re.match(r"[^\n]*?Got value: Namespace\(class_path='([^']+)'", text[end:])
    return match[1] if match else None


def _given(text: str) -> str:
    match = re.search(r"Given value: (?:NestedArg\(key='[^']+', val='(.*)'\)|(.*))", text)
    return next(filter(None, match.groups()), "") if match else "what is there"


def _kinds(text: str, first: str) -> list[str]:
    """The accepted types, in plain words."""
    types = re.findall(r"- Expected an? (?!path|dot import)(.+?)$", text, re.MULTILINE)
    kinds = [_plain(kind) for kind in (types if len(types) > 1 else [first])]
    return list(dict.fromkeys(kind for kind in kinds if kind != "NoneType")) + (["null"] if "NoneType" in kinds else [])


def _plain(kind: str) -> str:
    kind = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    kind = re.sub(r"(?:typing|collections\.abc)\.", "", kind)
    return re.sub(r"Literal\[(.*)\]", r"one of \1", kind)


def _choices(text: str) -> list[str]:
    return [choice for choices in re.findall(r"Literal\[(.*?)\]", text) for choice in re.findall(r"'([^']*)'", choices)]
