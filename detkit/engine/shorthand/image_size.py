"""``--imgsz``: what a recipe's preprocessing calls the size of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from detkit.errors import InputError
from detkit.files import read_yaml

_SIDES = {"Square": "size {size}", "Letterbox": "size '[{size}, {size}]'", "Stretch": "size '[{size}, {size}]'"}
_USUAL = {
    "YOLOv2": "Letterbox",
    "YOLOv3": "Letterbox",
    "YOLOv4": "Letterbox",
    "SSD": "Square",
    "SSDLite": "Square",
    "RetinaNet": "ShortestEdge",
    "FCOS": "ShortestEdge",
    "FasterRCNN": "ShortestEdge",
    "MaskRCNN": "ShortestEdge",
    "Classifier": "CenterCrop",
}
"""The preprocessing of models whose recipe names none."""

_KEY = "--model.preprocess."


def refuse_image_size(command: str, option: str, value: str, argv: Sequence[str]) -> NoReturn:
    """Say with which options the size of the images is set.

    It is no alias, since anchors and the sizes of some heads belong to it.

    Args:
        command: which reads the command line.
        option: as it was typed.
        value: its value.
        argv: the command line, with ``--config`` before each recipe's file.

    Raises:
        InputError: always.
    """
    if command != "train":
        raise InputError(f"{option}: leave it out, the size of the images is the checkpoint's own.")
    given = f"{option} {value}".rstrip()
    if not value.isdecimal():
        raise InputError(f"{given}: the size of the images is set by options of the recipe's {_KEY.strip('-.')}.")
    model, part = _model_and_preprocess(argv)
    kind = _class_name(part) or _USUAL.get(model, "")
    if kind in _SIDES:
        options = f"{_KEY}{_SIDES[kind].format(size=value)}"
    elif kind == "ShortestEdge":
        now = {"min_size": 800, "max_size": 1333} | dict(part.get("init_args") or {})
        longest = round(int(value) * now["max_size"] / now["min_size"])
        options = f"{_KEY}min_size {value} {_KEY}max_size {longest}"
    elif kind == "CenterCrop":
        options = f"{_KEY}size '[{value}, {value}]' {_KEY}shorter_side {round(int(value) * 256 / 224)}"
    else:
        raise InputError(f"{given}: set the size in {_KEY.strip('-.')}; detkit train RECIPE --print_config shows it.")
    named = "" if part else f"{_KEY.rstrip('.')} {kind} "
    raise InputError(f"{given}: this recipe's {kind} takes {named}{options}; anchors in pixels are for its own size.")


def _model_and_preprocess(argv: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """The class of the model, and the preprocessing of the last recipe that has one."""
    model = ""
    found: dict[str, Any] = {}
    for file in _config_files(argv):
        part = _section(read_yaml(file), "model")
        model = _class_name(part) or model
        found = _section(_section(part, "init_args"), "preprocess") or found
    return model, found


def _section(content: Any, key: str) -> dict[str, Any]:
    """The mapping at a key, empty where there is none."""
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, dict) else {}


def _class_name(part: Mapping[str, Any]) -> str:
    return str(part.get("class_path", "")).rpartition(".")[2]


def _config_files(argv: Sequence[str]) -> list[str]:
    joined = [one.partition("=")[2] for one in argv if one.startswith("--config=")]
    return [*joined, *(value for option, value in pairwise(argv) if option == "--config")]
