"""Report the faults that a reader has collected from the files of a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from detkit.errors import InputError

logger = logging.getLogger(__name__)


def raise_problems(
    problems: Sequence[str],
    source: Path,
    bad_boxes: Sequence[str] = (),
    on_bad_box: Literal["error", "skip"] = "error",
) -> None:
    """Raise an `InputError` with the first of the problems, if there are any.

    Args:
        problems: a message for each fault, with its file and line.
        source: of the data set, for messages.
        bad_boxes: likewise, for boxes that are no boxes.
        on_bad_box: whether those are problems too, or were left out, of which a warning gives the number.
    """
    faults = [*problems, *(bad_boxes if on_bad_box == "error" else ())]
    if faults:
        others = f" (and {len(faults) - 1} other problems in {source})" if len(faults) > 1 else ""
        skip = "" if problems else ", or leave such boxes out with --data.on_bad_box skip"
        raise InputError(f"{faults[0]}{others}; correct it, or list all with detkit convert{skip}")
    if bad_boxes:
        what = "1 box is" if len(bad_boxes) == 1 else f"{len(bad_boxes)} boxes are"
        logger.warning("%s: %s wrong (first: %s); left out", source, what, bad_boxes[0])
