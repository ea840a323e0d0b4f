"""The outputs of an exported file against those of the model, before it is written in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from detkit.errors import InputError
from detkit.exporting.recording import Recorded
from detkit.exporting.runtimes import ExportedFile, open_exported
from detkit.files import write_whole
from detkit.tasks import task_of
from detkit.tasks.differences.output_agreement import Tolerance, unequal_numbers

EXACT = Tolerance(1e-3, 0.1)
"""Where two scores or IoUs are equal but for rounding, another box may remain."""

OF_HALF = Tolerance(0.01, 0.25)
"""Half has three digits, and noise many scores and IoUs that are equal to three digits: only gross faults are found."""

BELOW_ALL, ABOVE_ALL = -1.0, 2.0
"""Score thresholds that every box passes, and none: there are detections to compare, and an image without objects."""


def check_file(content: bytes, suffix: str, recorded: Recorded, tolerance: Tolerance = EXACT) -> None:
    """Compare what a file gives with the model, for one image and for two, in every output.

    In noise a model finds hardly anything. So the file is also run with its score thresholds moved.

    Args:
        content: of the file.
        suffix: of its name.
        recorded: what it was made of.
        tolerance: of each comparison.

    Raises:
        InputError: they differ, or the runtime cannot run the file.
    """
    with _opened(content, suffix) as file:
        _compare(file, recorded, None, (1, 2), tolerance)
        if recorded.score_thresholds:
            _compare(file, recorded, BELOW_ALL, (1, 2), tolerance)
            _compare(file, recorded, ABOVE_ALL, (1,), tolerance)


def check_runs(content: bytes, suffix: str, recorded: Recorded) -> None:
    """Run a file for one image and for two, without a look at the numbers: INT8 is for images, not for noise.

    Raises:
        InputError: the runtime cannot run the file.
    """
    with _opened(content, suffix) as file:
        for count in (1, 2):
            file.run({name: value[:count] for name, value in recorded.inputs.items()})


@contextmanager
def _opened(content: bytes, suffix: str) -> Iterator[ExportedFile]:
    with TemporaryDirectory() as work:
        path = Path(work, f"exported{suffix}")
        write_whole(path, content)
        yield open_exported(path)


def _compare(
    file: ExportedFile, recorded: Recorded, threshold: float | None, counts: tuple[int, ...], tolerance: Tolerance
) -> None:
    """Compare for each of the numbers of images `counts`, with the score thresholds at `threshold` if it is given."""
    differ = unequal_numbers if recorded.raw else task_of(recorded.model).outputs_differ
    if threshold is not None:
        file.move_score_thresholds_(threshold)
    for count in counts:
        inputs = {name: value[:count] for name, value in recorded.inputs.items()}
        given = {name: torch.from_numpy(values) for name, values in file.run(inputs).items()}
        own = expected_outputs(recorded, inputs, threshold)
        if given.keys() != own.keys():  # the raw outputs of TorchScript are numbered
            given = dict(zip(own, given.values(), strict=True))
        found = differ(given, own, tolerance)
        if found is not None:
            raise InputError(
                f"{file.runtime} gives other numbers than the {type(recorded.model).__name__}: {found}; the file is "
                "not written."
            )


@torch.no_grad()
def expected_outputs(
    recorded: Recorded, inputs: dict[str, Tensor], threshold: float | None = None
) -> dict[str, Tensor]:
    """What the model gives, by the names of the outputs, with its score thresholds at `threshold`."""
    with recorded.thresholds_moved(threshold):
        outputs = [one.cpu() for one in tree_leaves(recorded.reference(*inputs.values())) if one is not None]
    return dict(zip(recorded.outputs, outputs, strict=True))
