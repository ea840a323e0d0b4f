"""`verify`: ``detkit verify`` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.engine.commands.verify.verify_command import parsed_arguments
from detkit.engine.commands.verify.verifying import VerifyOptions, verify_files
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, trusted
from detkit.engine.verbs.wording import in_words_of_python
from detkit.trust.certificate import Certificate


def verify(
    files: str | Path | Sequence[str | Path], checkpoint: str | Path, data: Data | None = None, **settings: Any
) -> list[Certificate]:
    """Compare exported files with their checkpoint as ``detkit verify`` does, and print what is found.

    Args:
        files: a file, or several: .onnx, .pt2, .ts or .xml.
        checkpoint: a checkpoint, or a run's folder.
        data: a folder with the same classes, or arguments of `detkit.data.DataModule`. None: the data that the
            checkpoint was trained on.
        settings: further options of the command: ``images=500``, ``allow=1.0``, ``out="certificate.json"``, or dotted,
            ``**{"data.batch_size": 4}``.

    Returns:
        The certificate of each file.

    Raises:
        InputError: a file, the checkpoint, the data or a setting is wrong.
    """
    paths = [files] if isinstance(files, (str, Path)) else files
    given = {"checkpoint": checkpoint, **data_settings(data), **settings}
    argv = [*map(str, paths), *trusted(given), *as_arguments(given)]
    with unchanged_process(), in_words_of_python():
        parsed, of_data = parsed_arguments(argv)
        return verify_files(parsed.options(VerifyOptions), of_data)
