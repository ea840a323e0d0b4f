"""The paths in a recipe: relative to its folder where they exist there, else to the working directory."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from detkit.recipes import is_shipped

logger = logging.getLogger(__name__)

TEXT_PATHS = ("weights", "start_from", "folder")
"""Arguments that take a path or another word, such as ``DEFAULT``; all others with paths have the type `Path`."""

_FORM = re.compile(r"(?P<before>(torchvision|detectron2):[^,]*,|darknet:)(?P<files>[^,]+(,[^,]+)?)")
"""Sources of weights to start from that name files: ``torchvision:NAME,FILE``, ``darknet:CFG,WEIGHTS``."""

Locate = Callable[[Path], Path]


def with_paths(config: Any, locate: Locate, key: str = "") -> Any:
    """A parsed config with each path replaced by what `locate` gives for it."""
    if isinstance(config, Namespace):
        return Namespace(**{name: with_paths(value, locate, name) for name, value in vars(config).items()})
    if isinstance(config, list):
        return [with_paths(value, locate, key) for value in config]
    if isinstance(config, Path):
        return locate(config)
    if isinstance(config, str) and key == "start_from" and (written := _FORM.fullmatch(config)):
        files = [str(locate(Path(file.strip()))) for file in written["files"].split(",")]
        return written["before"] + ",".join(files)
    if isinstance(config, str) and config and key in TEXT_PATHS:
        located = locate(Path(config))
        return config if located == Path(config) else str(located)
    return config


def relative_to_recipe(path: Path, folder: Path) -> Path:
    """`path`, or the one of this name in the recipe's `folder` if it exists and is not that of an installed wheel."""
    if path.is_absolute() or is_shipped(folder) or not os.path.exists(folder / path):
        return path
    if os.path.exists(path) and not os.path.samefile(path, folder / path):
        logger.warning("%s is in the recipe's folder and in the working directory: taking %s", path, folder / path)
    return folder / path


def absolute(path: Path) -> Path:
    """`path` for any working directory, if it exists."""
    return Path(os.path.abspath(path)) if os.path.exists(path) else path
