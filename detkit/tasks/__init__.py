"""Tasks, one file each: the type of answer, its evaluators, its results file and its drawing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from detkit.errors import InputError
from detkit.tasks.classification import Classification
from detkit.tasks.detection import Detection
from detkit.tasks.localization import Localization
from detkit.tasks.meshes.mesh_detection import MeshDetection
from detkit.tasks.panoptic import Panoptic
from detkit.tasks.reconstruction import Reconstruction
from detkit.tasks.recovered_objects import Recovered
from detkit.tasks.segmentation import Segmentation
from detkit.tasks.segmented_objects import SegmentedObjects
from detkit.tasks.task import NamedEvaluator, Task

if TYPE_CHECKING:
    from detkit.models import VisionModel

__all__ = [
    "NAMED_EVALUATORS",
    "Classification",
    "Detection",
    "Localization",
    "MeshDetection",
    "NamedEvaluator",
    "Panoptic",
    "Reconstruction",
    "Recovered",
    "Segmentation",
    "SegmentedObjects",
    "Task",
    "task_of",
    "task_of_results",
]

_OWN = (
    Detection,
    Classification,
    Localization,
    Segmentation,
    Panoptic,
    SegmentedObjects,
    Reconstruction,
    MeshDetection,
)

NAMED_EVALUATORS: dict[str, NamedEvaluator] = {name: one for task in _OWN for name, one in task.named.items()}
"""The evaluators of detkit's tasks by their short names."""

# Names that models used before tasks were objects.
_OLD_NAMES = {one.name: f"detkit.tasks.{one.__name__}" for one in (Detection, Classification, Localization)}


def task_of(model: VisionModel | type[VisionModel]) -> Task:
    """The task of a model: its attribute `task`, an object or an import path.

    Raises:
        InputError: the model has no task, or the path cannot be imported.
    """
    named = getattr(model, "task", None)
    owner = model.__name__ if isinstance(model, type) else type(model).__name__
    if isinstance(named, str):
        named = _imported(_OLD_NAMES.get(named, named), owner)
    if isinstance(named, type) and issubclass(named, Task):
        named = named()
    if not isinstance(named, Task):
        raise InputError(
            f"{owner}.task is {named!r}: let it be a detkit.tasks.Task, or the import path of one such as "
            "detkit.tasks.Detection"
        )
    return named


def task_of_results() -> Task:
    """The task of a file of detections in COCO's results format."""
    return Detection()


def _imported(path: str, owner: str) -> object:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{owner}.task is {path!r}, which cannot be imported ({error})") from error
