"""`train`: ``detkit train`` from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.train import train as run_training
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import RunOptions
from detkit.engine.config.trust import packages_of
from detkit.engine.verbs.finished_run import Run, metrics_of
from detkit.engine.verbs.process_state import unchanged_process
from detkit.engine.verbs.settings import Data, as_arguments, data_settings, device_settings, take_objects
from detkit.engine.verbs.wording import in_words_of_python
from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.object_config import config_of
from detkit.recipes import recipe_path

Recipe = str | Path | Mapping[str, Any] | VisionModel


def train(
    recipe: Recipe | None = None,
    data: Data | None = None,
    *,
    epochs: int | None = None,
    name: str | None = None,
    device: str | int | None = None,
    **settings: Any,
) -> Run:
    """Train a model as ``detkit train`` does: the same weights from the same recipe, data, settings and seed.

    Args:
        recipe: the name of a recipe, the path of one, its content as a mapping; or a model, which is trained itself
            and then has the weights of `Run.model`. None with ``resume="runs/mine"``.
        data: a folder, or arguments of `detkit.data.DataModule`: ``{"root": "my/folder", "batch_size": 4}``.
        epochs: their number.
        name: of the run, whose folder is ``runs/NAME``; by default that of the recipe, or of the class of the model.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or the number of a GPU; by default the best there is.
        settings: further keys of a recipe: ``seed=1``, ``overwrite=True``, ``optimizer={...}``, or dotted,
            ``**{"optimizer.init_args.lr": 0.01}``. ``trainer={"callbacks": [...], "logger": ...}`` also takes objects.

    Returns:
        The run, with its model ready to predict.

    Raises:
        InputError: something in the recipe, the data or the folder of the run is wrong.
    """
    model = recipe if isinstance(recipe, VisionModel) else None
    given = {
        **data_settings(data),
        **settings,
        **({} if epochs is None else {"trainer.max_epochs": epochs}),
        **({} if name is None else {"name": name}),
        **device_settings(device),
    }
    with unchanged_process(), in_words_of_python():
        objects = take_objects(given)
        parsed = training_arguments([*recipe_arguments(recipe, given), *as_arguments(given)])
        folder = parsed.options(RunOptions).folder
        run_training(parsed, model=model, trainer=objects)
        checkpoint = Checkpoint.read(folder)
        metrics = metrics_of(checkpoint, folder / "metrics.csv")
        if model is None:
            return Run(folder, checkpoint.model(trust=packages_of(checkpoint.record["model"])), metrics)
        model.load_state_dict(checkpoint.weights)
        return Run(folder, model.eval(), metrics)


def recipe_arguments(recipe: Recipe | None, settings: Mapping[str, Any]) -> list[str]:
    """The arguments of ``detkit train`` that a recipe stands for.

    Raises:
        InputError: there is no recipe, and none is resumed; or it is of another type.
    """
    if recipe is None:
        if "resume" in settings:
            return []
        raise InputError('Give a recipe to train, such as "faster_rcnn_shapes", or resume="runs/NAME".')
    if isinstance(recipe, (str, Path)):
        return ["--config", str(recipe_path(recipe))]
    if isinstance(recipe, VisionModel):
        content: Mapping[str, Any] = {"model": _config_of(recipe)}
    elif isinstance(recipe, Mapping):
        content = recipe
    else:
        raise InputError(
            f"the recipe is a {type(recipe).__name__}: give the name of a recipe, the path of one, a mapping or a model"
        )
    unnamed = not {"name", "resume"} & {*settings, *content}
    return as_arguments({**({"name": _name(content)} if unnamed else {}), **content})


def _config_of(model: VisionModel) -> dict[str, Any]:
    """The config of a model; the number of classes is that of the data, which is compared with it."""
    config = config_of(model)
    arguments = {key: value for key, value in (config.get("init_args") or {}).items() if key != "num_classes"}
    return {**config, "init_args": arguments}


def _name(content: Mapping[str, Any]) -> str:
    """The class of the model, as the name of a run."""
    model = content.get("model")
    path = model.get("class_path", "run") if isinstance(model, Mapping) else str(model or "run")
    return str(path).rpartition(".")[2].lower()
