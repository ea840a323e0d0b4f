"""Darknet's ``.weights`` files: a header, then the float32 weights of one layer after the other."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import torch
from torch import Tensor

from detkit.backbones.finite_weights import all_finite, warn_of_tensors
from detkit.errors import InputError
from detkit.weights.darknet.cfg import Section
from detkit.weights.darknet.layers import Layer
from detkit.weights.darknet.weighted_layers import BatchNorm, Connected

_LARGEST_VERSION = 10_000  # those of darknet and its fork are 0.1.0, 0.2.0 and 0.2.5; above 1000 is transposed


@dataclass(frozen=True)
class Header:
    """The first bytes: version and the number of images seen in training.

    `seen` takes 8 bytes from version 0.2 on, 4 before. Versions above 1000 mark transposed ``[connected]`` weights.
    """

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def layout(self) -> str:
        """The layout of the header, in the format of `struct`."""
        return "<3iQ" if self.major * 10 + self.minor >= 2 and not self.transposed else "<3iI"

    @property
    def transposed(self) -> bool:
        """Whether fully connected layers are stored as ``(inputs, outputs)``."""
        return self.major > 1000 or self.minor > 1000

    def pack(self) -> bytes:
        """The bytes of the file."""
        return struct.pack(self.layout, self.major, self.minor, self.revision, self.seen)


@torch.no_grad()
def read_weights(path: str | Path, layers: Iterable[tuple[Section, Layer]]) -> Header:
    """Fill `layers` with the weights of the file `path`, which lacks those of layers with ``dontload``.

    Warns of weights that are not finite.

    Raises:
        InputError: the file cannot be read, is no weights file, or is too short or too long for the layers, which keep
            their weights; the message gives the layer where it ends and the byte counts.
    """
    try:
        with open(path, "rb") as file:
            header, length = _read_header(path, file.read(20)), os.fstat(file.fileno()).st_size
            parts = [(section, _loaded(section, layer, header)) for section, layer in layers]
            position = struct.calcsize(header.layout)
            _check_length(path, length, position, parts)
            file.seek(position)
            for _, stored in parts:
                _fill(file, stored)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise InputError(f"cannot read the weights {path}: {getattr(error, 'strerror', None) or error}") from error
    warn_of_tensors([section.name for section, stored in parts if not all(map(all_finite, stored))], str(path))
    return header


def layers_in(path: str | Path, layers: Sequence[tuple[Section, Layer]]) -> int:
    """How many of the first `layers` have all the weights of the file, such as ``darknet53.conv.74``.

    All of them if the file does not end behind a layer, which `read_weights` then says.

    Raises:
        InputError: the file cannot be read or is no weights file.
    """
    try:
        with open(path, "rb") as file:
            header, length = _read_header(path, file.read(20)), os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the weights {path}: {getattr(error, 'strerror', None) or error}") from error
    position = struct.calcsize(header.layout)
    for index, (section, layer) in enumerate(layers):
        weights = 4 * sum(part.numel() for part in _loaded(section, layer, header))
        if weights and position == length:
            return index
        position += weights
    return len(layers)


def _check_length(path: str | Path, length: int, position: int, parts: Sequence[tuple[Section, list[Tensor]]]) -> None:
    """Raise InputError unless the weights of `parts`, which begin at `position`, end with the file."""
    for section, stored in parts:
        end = position + 4 * sum(weights.numel() for weights in stored)
        if end > length:
            raise section.error(
                f"{path} is too short: it has {length:,} bytes, and the weights of this layer are bytes "
                f"{position:,} to {end:,}"
            )
        position = end
    if position != length:
        raise parts[-1][0].error(
            f"{path} is too long: it has {length:,} bytes, and the weights of the layers up to this last one end "
            f"at {position:,}"
        )


def _fill(file: BinaryIO, stored: Iterable[Tensor]) -> None:
    """Fill the tensors `stored` with the next numbers of the file."""
    for weights in stored:
        numbers = np.frombuffer(file.read(4 * weights.numel()), dtype="<f4").astype(np.float32)
        weights.copy_(torch.from_numpy(numbers).view(weights.shape))


def write_weights(file: IO[bytes], header: Header, layers: Iterable[tuple[Section, Layer]]) -> None:
    """Write `header` and the weights of all `layers` to an open file."""
    file.write(header.pack())
    for _, layer in layers:
        for weights in _stored(layer, header):
            file.write(weights.detach().cpu().contiguous().numpy().astype("<f4").tobytes())


def _read_header(path: str | Path, content: bytes) -> Header:
    """The header, whose length depends on its version."""
    if len(content) >= 16:
        header = Header(*struct.unpack_from("<3iI", content))
        if not all(0 <= number <= _LARGEST_VERSION for number in (header.major, header.minor, header.revision)):
            raise InputError(
                f"{path} is no darknet weights file: it would be of version "
                f"{header.major}.{header.minor}.{header.revision}"
            )
        if len(content) >= struct.calcsize(header.layout):
            return Header(*struct.unpack_from(header.layout, content))
    raise InputError(f"{path} is too short: it has {len(content)} bytes, not even those of a darknet header")


def _stored(layer: Layer, header: Header) -> list[Tensor]:
    """The weights of `layer` in the layout of a file with `header`."""
    if isinstance(layer, Connected) and header.transposed:
        return [weights.T if weights.ndim == 2 else weights for weights in layer.stored()]
    return layer.stored()


def _loaded(section: Section, layer: Layer, header: Header) -> list[Tensor]:
    """The weights of `layer` that are read from a file."""
    stored = _stored(layer, header)
    if section.integer("dontload", 0):
        return []
    batch_norm = getattr(layer, "batch_norm", None)
    if section.integer("dontloadscales", 0) and isinstance(batch_norm, BatchNorm):
        unread = {id(weights) for weights in batch_norm.statistics()}
        return [weights for weights in stored if id(weights) not in unread]
    return stored
