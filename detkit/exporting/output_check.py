"""The outputs of an exported graph against those of the model, before the file is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from detkit.errors import InputError
from detkit.exporting.recording import Recorded

TOLERANCE = 1e-3
"""The largest difference of an output, of its largest number; scores differ by less."""

Run = Callable[[Mapping[str, Tensor]], Sequence[np.ndarray | Tensor]]


def check_outputs(run: Run, recorded: Recorded, runtime: str) -> None:
    """Compare what `run` gives with the model, for one image and for two.

    Raw outputs are compared number for number. Detections are compared by their scores, best first: boxes of equal
    scores may change places.

    Raises:
        InputError: they differ.
    """
    for count in (1, 2):
        inputs = {name: value[:count] for name, value in recorded.inputs.items()}
        with torch.no_grad():
            expected = [one for one in tree_leaves(recorded.module(*inputs.values())) if one is not None]
        for name, theirs, ours in zip(recorded.outputs, run(inputs), expected, strict=True):
            given, own = torch.as_tensor(theirs).cpu().float(), ours.detach().cpu().float()
            difference = _difference(name, given, own) if not recorded.raw else _largest(given - own)
            if not difference <= TOLERANCE * max(1.0, _largest(own)):
                raise InputError(
                    f"{runtime} gives other numbers than the {type(recorded.model).__name__}: {name} differs by "
                    f"{difference:.2g}; the file is not written."
                )


def _difference(name: str, given: Tensor, own: Tensor) -> float:
    """The largest difference of scores, those of detections that one side alone has left out at the lowest score."""
    if name == "probabilities":
        return _largest(given - own)
    if name != "scores":
        return 0.0
    width = max(given.shape[1], own.shape[1])
    given, own = (torch.nn.functional.pad(one, (0, width - one.shape[1])) for one in (given, own))
    scores = torch.cat((given[given > 0], own[own > 0]))
    lowest = float(scores.min()) if len(scores) else 0.0
    return _largest(given.clamp(min=lowest) - own.clamp(min=lowest))


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
