"""`report`: ``detkit report`` from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detkit.engine.commands.report.report_command import report_of
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, trusted
from detkit.engine.verbs.wording import in_words_of_python


def report(
    run: str | Path, out: str | Path | None = None, data: Data | None = None, split: str = "val", **settings: Any
) -> Path:
    """Write a report of a run as one HTML page, as ``detkit report`` does.

    Args:
        run: a run's folder or a checkpoint.
        out: the page; None: ``report.html`` beside the checkpoint.
        data: a folder with the same classes, or arguments of `detkit.data.DataModule`. None: the data that the run was
            trained on.
        split: ``val`` or ``test``.
        settings: further options of the command: ``images=100``, ``score_threshold=0.5``, ``bootstrap=0``,
            ``device="cpu"``, or dotted, ``**{"data.batch_size": 4}``.

    Returns:
        The page.

    Raises:
        InputError: the checkpoint, the data or a setting is wrong.
    """
    given = {"split": split, **data_settings(data), **({} if out is None else {"out": str(out)}), **settings}
    packages = trusted(given)
    with unchanged_process(), in_words_of_python():
        return report_of([str(run), *packages, *as_arguments(given)])
