"""The image and video files that a command is given."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from detkit.errors import InputError
from detkit.files import named_file, visible
from detkit.images.suffixes import IMAGE_SUFFIXES, is_image, is_video


def find_inputs(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The image and video files that `paths` name, without duplicates, in the given order, sorted within each argument.

    Hidden files are left out unless their names are given.

    Args:
        paths: files, folders (the images and videos directly inside) and glob patterns (``**`` descends).

    Raises:
        InputError: a path does not exist, or a folder or pattern has no image and no video.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    files = [file for path in paths for file in _expand(named_file(Path(), str(path)))]
    if not files:
        raise InputError("no input was given: name an image, a video, a folder or a glob pattern")
    return list(dict.fromkeys(files))


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        candidates, what = visible(path.iterdir()), "this folder holds"
    elif glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # as in a shell, no wildcard matches a leading dot
        candidates, what = [Path(match) for match in matches], "this pattern matches"
    else:
        raise InputError(f"{path}: there is no such file or folder")
    files = [file for file in candidates if (is_image(file.name) or is_video(file.name)) and file.is_file()]
    if not files:
        raise InputError(f"{path}: {what} no image and no video (looked for {', '.join(sorted(IMAGE_SUFFIXES))} …)")
    return sorted(files)
