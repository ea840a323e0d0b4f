"""Translating configs of the previous release; kept for one release.

A rule maps a part of a config and its dotted key, such as ``model.head``, to the part as it is written now. Each old
key gives one warning. Configs are translated in the loader of `detkit.engine.config.parser.command_parser`;
checkpoints in `detkit.engine.checkpoint.build_model`; arguments of a command by `modernize_arguments`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import detkit.heads
import detkit.models
from detkit.data.old_flags import FLAGS
from detkit.deprecation import warn
from detkit.deprecation.renamed_arguments import RENAMED_ARGUMENTS, renamed_argument
from detkit.deprecation.renamed_names import RENAMED_CLASSES
from detkit.heads.dense.old_rpn_arguments import MOVED as OF_RPN
from detkit.heads.old_arguments import OLD_NAMES, translate_arguments, warn_of

Part = dict[str, Any]
Rule = Callable[[str, Part], Part]
Option = Callable[[str, str], list[tuple[str, str]] | None]


def modernize(config: Mapping[str, Any], key_path: str = "") -> Part:
    """Translate every old key in `config`, at any depth.

    Args:
        config: a config, or the part of one at `key_path`.
        key_path: its keys, joined by dots, without ``init_args``.
    """
    part = dict(config)
    for rule in RULES:
        part = rule(key_path, part)
    for key, value in part.items():
        inside = key_path if key == "init_args" else f"{key_path}.{key}".lstrip(".")
        if isinstance(value, Mapping):
            part[key] = modernize(value, inside)
        elif isinstance(value, list):
            part[key] = [modernize(one, inside) if isinstance(one, Mapping) else one for one in value]
    return part


def modernize_arguments(argv: Sequence[str]) -> list[str]:
    """Translate the old options of a command line, such as ``--model.head.score_threshold``."""
    modern, rest = [], list(argv)
    while rest:
        argument = rest.pop(0)
        option, equals, value = argument.partition("=")
        follows = not equals and bool(rest) and not rest[0].startswith("--")
        new = _renamed(option, rest[0] if follows else value) if option.startswith("--") else None
        if new is None:
            modern.append(argument)
            continue
        names = [name if name != option else f"{name}={its}" for name, its in new]
        warn(f"{option} is {' and '.join(names) + ' now' if names else 'not needed any more'}")
        modern += [f"{name}={its}" for name, its in new]
        del rest[: int(follows)]
    return modern


def _renamed(option: str, value: str) -> list[tuple[str, str]] | None:
    """The options that replace an old one, empty if it is not needed; None for one that is not old."""
    return next((new for rename in OPTIONS if (new := rename(option, value)) is not None), None)


def masks_and_keypoints(key_path: str, part: Part) -> Part:
    """``data.with_masks`` and ``data.with_keypoints`` are in ``data.reads`` now."""
    old = [flag for flag in FLAGS if flag in part] if key_path == "data" else []
    if not old:
        return part
    rest = {name: value for name, value in part.items() if name not in old}
    fields = [FLAGS[flag] for flag in old if part[flag]]
    for flag in old:
        warn(f"data.{flag} is not needed, what the model learns is read; for more give data.reads: [{FLAGS[flag]}]")
    return rest | ({"reads": list(dict.fromkeys([*(part.get("reads") or ()), *fields]))} if fields else {})


def thresholds_of_heads(key_path: str, part: Part) -> Part:
    """Thresholds of a head are in its ``postprocess`` now."""
    owner, arguments = _class_of(part), part.get("init_args")
    if owner is None or not isinstance(arguments, Mapping):
        return part
    arguments = {name: _with_class(owner, name, value) for name, value in arguments.items()}
    parameters = _parameters(owner)
    if "postprocess" in parameters:
        arguments = _with_postprocess(owner, arguments, [name for name in arguments if name not in parameters])
    return part | {"init_args": arguments}


def _with_postprocess(head: type, arguments: Part, unknown: Sequence[str]) -> Part:
    if head is detkit.heads.RPN:
        return _of_rpn(arguments, [name for name in unknown if name in OF_RPN])
    changed = translate_arguments(head, {name: arguments[name] for name in unknown})
    if not changed.names:
        return arguments
    warn_of(head, changed, stacklevel=2)
    rest = {name: value for name, value in arguments.items() if name not in changed.names}
    return rest | {"postprocess": _filled(rest.get("postprocess"), changed.part, changed.values)}


def _of_rpn(arguments: Part, old: Sequence[str]) -> Part:
    """As for other heads, but a number can be for inference, for training, or for both."""
    rest = {name: value for name, value in arguments.items() if name not in old}
    for name in old:
        new, owners = OF_RPN[name]
        warn(f"RPN({name}=...) is {' and '.join(f'RPN({owner}=NMS({new}=...))' for owner in owners)} now")
        for owner in owners:
            rest[owner] = _filled(rest.get(owner), "NMS", {new: arguments[name]})
    return rest


def _filled(given: Mapping[str, Any] | None, part: str, values: Part) -> Part:
    """A suppression part with `values` where it has none of its own."""
    given = given or {}
    class_path = given.get("class_path", f"detkit.heads.{part}")
    return {"class_path": class_path, "init_args": values | dict(given.get("init_args") or {})}


def _with_class(owner: type, name: str, value: Any) -> Any:
    """The argument `name` of `owner`, with its default class where it names none and has old arguments."""
    if not isinstance(value, Mapping) or "class_path" in value:
        return value
    default = getattr(inspect.signature(owner).parameters.get(name), "default", None)
    arguments = value.get("init_args", value)
    if not isinstance(default, type) or not default.__module__.startswith("detkit.heads."):
        return value
    if not (translate_arguments(default, arguments).names or OF_RPN.keys() & arguments.keys()):
        return value
    return {"class_path": f"detkit.heads.{default.__name__}", "init_args": dict(arguments)}


def _parameters(owner: type) -> set[str]:
    """The names of the arguments of a class, also of those that it passes on to its bases."""
    names: set[str] = set()
    for kind in owner.__mro__:
        parameters = inspect.signature(kind).parameters
        names |= parameters.keys()
        if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _class_of(part: Part) -> type | None:
    """The model or head of detkit that a part of a config names; None for others."""
    package, _, name = str(part.get("class_path")).rpartition(".")
    if package and package.partition(".")[0] != "detkit":
        return None
    kind = vars(detkit.heads).get(name) or vars(detkit.models).get(name)
    return kind if isinstance(kind, type) else None


_OF_HEAD = re.compile(
    rf"(--model\.(?:\w+\.)*?(?:head|box_head))\.(?:init_args\.)?({'|'.join(OLD_NAMES)}|match_threshold|resolve)"
)


def option_of_head(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--model.head.nms_threshold 0.5`` is ``--model.head.postprocess.iou_threshold=0.5``."""
    match = _OF_HEAD.fullmatch(option)
    if not match:
        return None
    if match[2] == "resolve":
        return [(f"{match[1]}.postprocess", {"nms": "NMS", "merge": "MergeBoxes"}.get(value, value))]
    return [(f"{match[1]}.postprocess.{OLD_NAMES.get(match[2], match[2])}", value)]


_OF_RPN = re.compile(rf"(--model\.(?:init_args\.)?rpn)\.(?:init_args\.)?({'|'.join(OF_RPN)})")


def option_of_rpn(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--model.rpn.proposals 300`` is ``--model.rpn.postprocess.detections=300``."""
    match = _OF_RPN.fullmatch(option)
    if not match:
        return None
    new, owners = OF_RPN[match[2]]
    return [(f"{match[1]}.{owner}.{new}", value) for owner in owners]


def option_of_flag(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--data.with_masks true`` adds to ``data.reads``."""
    flag = option.removeprefix("--data.")
    if flag == option or flag not in FLAGS:
        return None
    is_off = value.lower() in ("false", "no", "null", "0")
    return [] if is_off else [("--data.reads+", FLAGS[flag])]


def renamed_arguments(key_path: str, part: Part) -> Part:
    """Arguments of classes have their current names."""
    owner, arguments = str(part.get("class_path")).rpartition(".")[2], part.get("init_args")
    if owner not in RENAMED_ARGUMENTS or not isinstance(arguments, Mapping):
        return part
    modern = {}
    for name, value in arguments.items():
        new = renamed_argument(owner, name)
        if new is not None:
            warn(f"{f'{key_path}.{name}'.lstrip('.')} of {owner} is {new} now")
        modern[new or name] = value
    return part | {"init_args": modern}


def renamed_classes(key_path: str, part: Part) -> Part:
    """Classes have their current names."""
    path = str(part.get("class_path"))
    new = _current_path(path)
    if new is None:
        return part
    warn(f"{path} is {new} now")
    return part | {"class_path": new}


def _current_path(path: str) -> str | None:
    """The current name or import path of a class of detkit; None if it was not renamed."""
    package, dot, name = path.rpartition(".")
    if name not in RENAMED_CLASSES or (package and package.partition(".")[0] != "detkit"):
        return None
    return f"{package}{dot}{RENAMED_CLASSES[name]}"


def option_of_renamed_class(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--model.backbone YOLOv1Trunk`` is ``--model.backbone=YOLOv1Backbone``."""
    new = _current_path(value) if option.startswith("--model.") else None  # a run may have any --name
    return None if new is None else [(option, new)]


# An option does not name the class, and `BoxHead` has a `trunk` still: the key before it decides.
_OF_RENAMED = re.compile(r"(--.*?\b(backbone|mixing|extra_levels)(?:\.init_args)?)\.(\w+)")
_OWNERS = {"backbone": "ImagePyramid", "mixing": "Mosaic", "extra_levels": "StridedConvolutions"}


def option_of_renamed_argument(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--data.mixing.centre 0.3`` is ``--data.mixing.center=0.3``."""
    match = _OF_RENAMED.fullmatch(option)
    new = match and renamed_argument(_OWNERS[match[2]], match[3])
    return [(f"{match[1]}.{new}", value)] if match and new else None


def option_of_visualize(option: str, value: str) -> list[tuple[str, str]] | None:
    """``--trunk vgg16`` is ``--backbone=vgg16``."""
    return [("--backbone", value)] if option == "--trunk" else None


RULES: tuple[Rule, ...] = (renamed_classes, thresholds_of_heads, masks_and_keypoints, renamed_arguments)
OPTIONS: tuple[Option, ...] = (
    option_of_rpn,
    option_of_head,
    option_of_flag,
    option_of_renamed_argument,
    option_of_renamed_class,
    option_of_visualize,
)
