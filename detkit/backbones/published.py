"""Published weights: where they lie, whether their host answers, and whether the file is sound."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import huggingface_hub
import timm
import torch
import torchvision

from detkit.errors import InputError

Made = TypeVar("Made")

ANSWER_SECONDS = 3.5
"""Until a host must have answered, names and all."""
STALL_SECONDS = 60.0
"""Without a byte, after which a download has failed; a slow one goes on."""


@dataclass(frozen=True)
class PublishedFile:
    """A weights file on a server.

    Args:
        url: of the file.
        path: of the local copy, which is taken in its place; None where the library does not say.
        is_local: whether there is a local copy.
    """

    url: str
    path: Path | None
    is_local: bool

    def advice(self) -> str:
        """What to do without a network."""
        place = f"put it at {self.path}, or " if self.path else ""
        return f"fetch {self.url} elsewhere and {place}give the path of a weights file, or none (null in a config)"


def torchvision_file(name: str, weights: str = "DEFAULT") -> PublishedFile | None:
    """The file of torchvision's `weights` of the network `name`; None if there are none of that name."""
    try:
        url = torchvision.models.get_model_weights(name)[weights].url
    except (KeyError, ValueError):
        return None
    return _of_hub(url)


def timm_file(name: str) -> PublishedFile | None:
    """The file of timm's default weights of the model `name`; None if there are none."""
    config: Any = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        return None
    if not config.hf_hub_id:
        return _of_hub(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    cached = [huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None) for file in names]
    url = f"{huggingface_hub.constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{names[0]}"
    return PublishedFile(url, None, any(isinstance(path, str) for path in cached))


def _of_hub(url: str) -> PublishedFile:
    """The file that `torch.hub` downloads from `url`."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    return PublishedFile(url, path, path.is_file())


def fetched(file: PublishedFile, create: Callable[[], Made]) -> Made:
    """The result of `create`, which downloads `file` unless there is a local copy.

    Libraries ask again and again for a minute, or wait forever. So the host is asked first, and if it does not answer
    within seconds, there is no download. A thread asks, since looking up a name cannot be interrupted.

    Raises:
        InputError: the host does not answer, or the local copy is corrupt.
    """
    if file.is_local:
        _check_hash(file)
        return create()
    problem = _problem(file.url)
    if problem is not None:
        raise InputError(f"{file.url} cannot be reached: {problem}")
    with _ending_stalls():
        result = create()
    _check_hash(file)
    return result


def _problem(url: str) -> str | None:
    """Why the host does not answer within seconds; None if it does."""
    answer: Future[None] = Future()

    def run() -> None:
        try:
            ask(url)
            answer.set_result(None)
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = answer.exception(timeout=ANSWER_SECONDS)
    except TimeoutError as late:
        error = late
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):  # here, or in the connection, whose limit is the same
        return f"no answer within {ANSWER_SECONDS:g} s"
    return None if error is None else str(reason) or type(error).__name__


def ask(url: str) -> None:
    """Wait for the first bytes of an answer."""
    with suppress(HTTPError):  # an answer, if not the one hoped for
        urlopen(Request(url, headers={"User-Agent": "detkit"}), timeout=ANSWER_SECONDS).close()


@contextmanager
def _ending_stalls() -> Iterator[None]:
    """Connections opened within fail when nothing arrives for some time."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS if before is None else before)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_hash(file: PublishedFile) -> None:
    """Raise InputError if the local copy has not the hash that its name gives, as in ``resnet18-f37072fd.pth``."""
    named = re.search(r"-([0-9a-f]{8,})\.", file.path.name) if file.path is not None else None
    if file.path is None or named is None or not file.path.is_file():
        return
    with open(file.path, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise InputError(
            f"{file.path} is corrupt: its SHA-256 begins with {found[: len(named[1])]}; delete it to download it again"
        )
