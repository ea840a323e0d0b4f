"""A recorded graph as the bytes of a file for torch: of `torch.export`, or TorchScript.

Both hold detkit's native operations, which ``import detkit.ops`` makes known to torch.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from typing import Dict, List  # noqa: UP035  # TorchScript knows no other names

import torch
from torch import Tensor, nn

from detkit.exporting.quiet import quiet_translation
from detkit.exporting.recording import Recorded

FACTS_FILE = "detkit.json"
"""The name of the metadata among the extra files."""


def torch_export_program(recorded: Recorded, facts: Mapping[str, str]) -> bytes:
    """The file that `torch.export.load` reads."""
    buffer = io.BytesIO()
    with quiet_translation():
        torch.export.save(recorded.program, buffer, extra_files={FACTS_FILE: json.dumps(dict(facts))})
    return buffer.getvalue()


def torchscript_program(recorded: Recorded, facts: Mapping[str, str]) -> bytes:
    """The file that `torch.jit.load` reads; detections are made image by image, since a trace knows one number."""
    buffer = io.BytesIO()
    inputs = recorded.inputs.values() if recorded.raw else [value[:1] for value in recorded.inputs.values()]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a trace is constant where shapes are, and that torch prefers export
        traced = torch.jit.trace(recorded.module, tuple(inputs), strict=False, check_trace=False)
        if not recorded.raw:
            traced = torch.jit.script(_EACH[len(recorded.inputs)](traced))
        torch.jit.save(traced, buffer, _extra_files={FACTS_FILE: json.dumps(dict(facts))})
    return buffer.getvalue()


class _OneByOne(nn.Module):
    """A graph of one image, for any number of them."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph


class _Each(_OneByOne):
    """A graph that takes images alone."""

    def forward(self, images: Tensor) -> Dict[str, Tensor]:  # noqa: UP006  # TorchScript knows no dict
        parts = [self.graph(images[index : index + 1]) for index in range(images.shape[0])]
        if len(parts) == 0:
            return without_images(self.graph(one_of_zeros(images)))
        return joined(parts)


class _EachSized(_OneByOne):
    """One that takes their sizes too."""

    def forward(self, images: Tensor, sizes: Tensor) -> Dict[str, Tensor]:  # noqa: UP006
        parts = [self.graph(images[index : index + 1], sizes[index : index + 1]) for index in range(images.shape[0])]
        if len(parts) == 0:
            return without_images(self.graph(one_of_zeros(images), one_of_zeros(sizes)))
        return joined(parts)


class _EachProposed(_OneByOne):
    """One that takes their sizes and proposals too."""

    def forward(self, images: Tensor, sizes: Tensor, proposals: Tensor) -> Dict[str, Tensor]:  # noqa: UP006
        parts: List[Dict[str, Tensor]] = []  # noqa: UP006
        for index in range(images.shape[0]):
            end = index + 1
            parts.append(self.graph(images[index:end], sizes[index:end], proposals[index:end]))
        if len(parts) == 0:
            return without_images(self.graph(one_of_zeros(images), one_of_zeros(sizes), one_of_zeros(proposals)))
        return joined(parts)


_EACH = {1: _Each, 2: _EachSized, 3: _EachProposed}


def joined(parts: List[Dict[str, Tensor]]) -> Dict[str, Tensor]:  # noqa: UP006
    """The outputs of images as those of a batch."""
    together: Dict[str, Tensor] = {}  # noqa: UP006
    for name in parts[0].keys():  # noqa: SIM118  # TorchScript needs it
        together[name] = torch.cat([part[name] for part in parts])
    return together


def one_of_zeros(values: Tensor) -> Tensor:
    """What stands for one image where there is none, from `values` ``(0, ...)``."""
    return torch.zeros([1] + list(values.shape[1:]), dtype=values.dtype)  # noqa: RUF005  # TorchScript


def without_images(outputs: Dict[str, Tensor]) -> Dict[str, Tensor]:  # noqa: UP006
    """The outputs ``(0, ...)`` for no image, from those for one."""
    none: Dict[str, Tensor] = {}  # noqa: UP006
    for name in outputs.keys():  # noqa: SIM118
        none[name] = outputs[name][:0]
    return none
