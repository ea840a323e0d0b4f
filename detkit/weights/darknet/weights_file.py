"""Darknet's ``.weights`` files: a header, then the float32 weights of one layer after the other."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.weights.darknet.cfg import Section
from detkit.weights.darknet.layers import Layer
from detkit.weights.darknet.weighted_layers import BatchNorm, Connected


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

    Raises:
        InputError: the file cannot be read, or is too short or too long for the layers; the message gives the layer
            where it ends and the byte counts.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror}") from error
    header = _read_header(path, content)
    position = struct.calcsize(header.layout)
    for section, layer in layers:
        stored = _loaded(section, layer, header)
        end = position + 4 * sum(weights.numel() for weights in stored)
        if end > len(content):
            raise section.error(
                f"{path} is too short: it has {len(content):,} bytes, and the weights of this layer are bytes "
                f"{position:,} to {end:,}"
            )
        for weights in stored:
            numbers = np.frombuffer(content, dtype="<f4", count=weights.numel(), offset=position)
            weights.copy_(torch.from_numpy(numbers.astype(np.float32)).view(weights.shape))
            position += 4 * weights.numel()
    if position != len(content):
        raise section.error(
            f"{path} is too long: it has {len(content):,} bytes, and the weights of the layers up to this last one end "
            f"at {position:,}"
        )
    return header


def write_weights(path: str | Path, header: Header, layers: Iterable[tuple[Section, Layer]]) -> None:
    """Write `header` and the weights of all `layers` to the file `path`."""
    with open(path, "wb") as file:
        file.write(header.pack())
        for _, layer in layers:
            for weights in _stored(layer, header):
                file.write(weights.detach().cpu().contiguous().numpy().astype("<f4").tobytes())


def _read_header(path: str | Path, content: bytes) -> Header:
    """The header, whose length depends on its version."""
    if len(content) >= 16:
        header = Header(*struct.unpack_from("<3iI", content))
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
