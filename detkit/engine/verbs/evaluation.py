"""`evaluate`: ``detkit eval`` from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detkit.engine.checkpoint import Checkpoint, model_record
from detkit.engine.commands.evaluate import evaluation_numbers
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, many, trusted
from detkit.engine.verbs.wording import in_words_of_python
from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.models.predicting.evaluation_mode import evaluation_mode


def evaluate(
    model: VisionModel | str | Path, data: Data | None = None, split: str = "val", **settings: Any
) -> dict[str, dict[str, float]]:
    """Evaluate a model as ``detkit eval`` does: the same numbers and tables.

    Args:
        model: a checkpoint, a run's folder, or a model that has `categories`; the model keeps its device and mode.
        data: a folder with the same classes, or arguments of `detkit.data.DataModule`. None: the data that a
            checkpoint was trained on.
        split: ``val`` or ``test``.
        settings: further options of the command: ``device="cpu"``, ``per_class=True``, ``out="metrics.json"``, or
            dotted, ``**{"data.batch_size": 4}``.

    Returns:
        The numbers of each evaluator by its name: ``{"bbox": {"AP": 0.41, ...}}``.

    Raises:
        InputError: the checkpoint, the data or a setting is wrong, or a model does not know its categories.
    """
    own = model if isinstance(model, VisionModel) else None
    given = {"split": split, **data_settings(data), **settings}
    arguments = [*_flags_and_lists(given), *as_arguments(given)]
    with unchanged_process(), in_words_of_python():
        if own is None:
            return evaluation_numbers(["--checkpoint", str(model), *arguments])
        checkpoint = _in_memory(own)
        if data is None:
            raise InputError(f'Give the data to evaluate the {type(own).__name__} on, as in data="my/folder".')
        device = _device_of(own)
        try:
            with evaluation_mode(own):
                return evaluation_numbers(arguments, (own, checkpoint))
        finally:
            own.to(device)


def _flags_and_lists(settings: dict[str, Any]) -> list[str]:
    """Remove from `settings` what the command takes as an option without a value, or with several."""
    arguments = [f"--{name}" for name in ("per_class", "errors") if settings.pop(name, False)]
    arguments += trusted(settings)
    kinds = many(settings.pop("iou_type", []))
    return [*arguments, *(["--iou_type", *kinds] if kinds else [])]


def _in_memory(model: VisionModel) -> Checkpoint:
    """What an evaluation reads of a checkpoint, for a model that has none."""
    if not model.categories:
        raise InputError(
            f"The {type(model).__name__} does not know its classes: set model.categories to those of its data, as in "
            "model.categories = dataset.categories."
        )
    record = model_record({"class_path": "detkit.models.VisionModel"}, model.categories)
    return Checkpoint(Path(f"the {type(model).__name__}"), {"detkit": record, "state_dict": {}})


def _device_of(model: VisionModel) -> Any:
    return next((one.device for one in model.parameters()), None)
