"""`inspect`: ``detkit inspect`` from Python."""

from __future__ import annotations

from pathlib import Path

from detkit.engine.commands.inspect.inspect_command import InspectOptions, check_options
from detkit.engine.commands.inspect.inspecting import run_inspection
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings
from detkit.engine.verbs.wording import in_words_of_python
from detkit.trust.inspection import Inspection


def inspect(
    data: Data,
    recipe: str | None = None,
    *,
    images: int | None = None,
    previews: int = 12,
    out: str | Path | None = None,
) -> Inspection:
    """Find what is in a data set and what is wrong with it, as ``detkit inspect`` does, and print it.

    Args:
        data: a folder, or arguments of `detkit.data.DataModule`.
        recipe: name or path of a recipe whose levels, anchors and augmentation are to be shown.
        images: the most image files that are decoded, spread evenly; None: all.
        previews: augmented images on the page, with `recipe`.
        out: file to write: ``inspect.html`` or ``inspect.json``.

    Returns:
        Its `problems`, the worst first, its `tables` and its `pairs` of equal images.

    Raises:
        InputError: there is no data, or an argument is wrong.
    """
    options = InspectOptions(None, recipe, images, previews, None if out is None else Path(out))
    arguments = as_arguments(data_settings(data))
    with unchanged_process(), in_words_of_python():
        check_options(options, arguments)
        return run_inspection(options, arguments)
