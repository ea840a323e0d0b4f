"""The image and video files that a command is given."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detkit.errors import InputError
from detkit.files import named_file, visible
from detkit.images.downloads import download, is_url
from detkit.images.reading import decode_image, read_image
from detkit.images.suffixes import IMAGE_SUFFIXES, is_image, is_video
from detkit.images.videos import is_stream, read_stream, read_video


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


def find_sources(names: Sequence[str]) -> list[Path | str]:
    """As `find_inputs`, with http and https addresses as they are.

    Raises:
        InputError: as of `find_inputs`.
    """
    found: list[Path | str] = []
    for name in names:
        found += [name] if is_url(name) else find_inputs(name)
    return list(dict.fromkeys(found or find_inputs([])))


def read_source(source: Path | str) -> Iterator[np.ndarray]:
    """The frames of a video, or the image of a file or an address, each ``(H, W, 3)`` uint8 RGB.

    Raises:
        InputError: it cannot be read.
    """
    if is_stream(source):
        yield from read_stream(str(source))
    elif is_url(source):
        yield decode_image(download(str(source)), str(source))
    elif is_video(str(source)):
        yield from read_video(source)
    else:
        yield read_image(source)


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
