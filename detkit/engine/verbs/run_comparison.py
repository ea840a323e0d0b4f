"""`compare`: ``detkit compare`` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.engine.commands.compare.compare_command import comparisons_of
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, many, trusted
from detkit.engine.verbs.wording import in_words_of_python
from detkit.trust.comparison import Comparison


def compare(
    a: str | Path,
    b: str | Path,
    data: Data | None = None,
    *,
    per_class: bool = False,
    iou_type: str | Sequence[str] = (),
    **settings: Any,
) -> dict[str, Comparison]:
    """Tell whether two models differ on the same images, as ``detkit compare`` does.

    Args:
        a: a run's folder, a checkpoint, or a ``.json`` file of detections.
        b: what to compare it with.
        data: a folder with the same classes, or arguments of `detkit.data.DataModule`, for both. None: the data that
            each was trained on.
        per_class: also compare the numbers of each class.
        iou_type: ``bbox``, ``segm``, ``keypoints`` or several, as of ``detkit eval``; default: those of each config.
        settings: further options of the command: ``annotations="truth.json"`` for files, ``bootstrap=2000``,
            ``split="test"``, ``out="compare.json"``, ``device="cpu"``.

    Returns:
        The comparison of each evaluator by its name. As text, `str(comparison)`, it is the verdict.

    Raises:
        InputError: a source or a setting is wrong, or the two have different images, objects or classes.
    """
    given = {**data_settings(data), **settings}
    arguments = [*trusted(given), *(["--per_class"] if per_class else [])]
    kinds = many(iou_type)
    with unchanged_process(), in_words_of_python():
        return comparisons_of(
            [str(a), str(b), *arguments, *as_arguments(given), *(["--iou_type", *kinds] if kinds else [])]
        )
