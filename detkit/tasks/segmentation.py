"""Whole-image segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from detkit.data.faults.suspicious_maps import suspicious_maps
from detkit.errors import InputError
from detkit.evaluation import SemanticEvaluator
from detkit.preprocess import Batch
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.map_sections import map_sections
from detkit.results import color_png, label_png, polygon_json
from detkit.structures import Category, SemanticMap, Target
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.tasks.differences.map_agreement import unequal_maps
from detkit.tasks.differences.map_differences import MapDifferences
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.tasks.exported_answers import exported_label_maps
from detkit.tasks.recovered_objects import Recovered
from detkit.tasks.task import NamedEvaluator, Task
from detkit.visualization.image_files import to_image_array
from detkit.visualization.map_drawing import draw_label_map

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.data.image_dataset import ImageDataset
    from detkit.models import VisionModel

_FILES: Mapping[str, Callable[[SemanticMap, Sequence[Category]], bytes]] = {
    "labels.png": label_png,
    "colors.png": color_png,
    "polygons.geojson": polygon_json,
}


class Segmentation(Task):
    """The class of each pixel of an image."""

    name = "segmentation"
    answer = SemanticMap
    parts = frozenset({"label_map"})
    evaluators = (SemanticEvaluator,)
    named = {  # noqa: RUF012 (of the class, and never changed)
        "semantic": NamedEvaluator(SemanticEvaluator, "label_map"),
        "boundary": NamedEvaluator(SemanticEvaluator, "label_map", {"boundary_iou": True}),
    }
    results_file = "label_maps.json"
    answer_files = {"labels.png": True, "colors.png": False, "polygons.geojson": False}  # noqa: RUF012

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data without label maps, or of a single class."""
        super().check_data(model, data)
        packed = data.train_dataset.packed_annotations
        if packed is not None and "label_map" not in packed.columns:
            raise InputError(
                f"{data.train_dataset.annotations_path} has no label maps, but the {type(model).__name__} learns the "
                "class of each pixel: give data with label maps, see docs/data.md."
            )
        if len(data.categories) == 1:
            raise InputError(
                f"{data.train_dataset.annotations_path} has the single class {data.categories[0].name!r}, which each "
                "annotated pixel then has, so that there is nothing to learn: make the background a class too"
            )

    def results(self, answer: SemanticMap, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The number of pixels of each class that occurs, most frequent first, and their share of the image."""
        pixels = answer.label_map.numel()
        return [
            {
                "category_id": categories[label].id,
                "category": categories[label].name,
                "pixels": count,
                "share": round(count / pixels, 6),
            }
            for label, count in answer.pixels().items()
        ]

    def answer_file(self, ending: str, answer: SemanticMap, categories: Sequence[Category]) -> bytes:
        """Category ids or colors as a PNG, or the connected parts of each class as polygons."""
        return _FILES[ending](answer, categories)

    def draw_truth(self, image: np.ndarray | Tensor, target: Target, categories: Sequence[Category]) -> np.ndarray:
        """The label map over the image, also where its objects are annotated as well."""
        if target.label_map is None:
            return to_image_array(image)
        return draw_label_map(image, target.label_map, categories)

    def truth(self, target: Target) -> SemanticMap | None:
        """The label map of the target; None where it is not annotated."""
        return None if target.label_map is None else SemanticMap(target.label_map)

    def recovered(self, target: Target, answer: SemanticMap) -> Recovered:
        """The IoU of each class that the target has, of the pixels that are not void in it."""
        if target.label_map is None:
            return Recovered(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        truth, given = target.label_map.long(), answer.label_map.long()
        is_known = truth != IGNORE_INDEX[target.label_map.dtype]
        labels = truth[is_known].unique()
        overlaps, rows = torch.zeros(len(labels)), torch.full((len(labels),), -1)
        for row, label in enumerate(labels.tolist()):
            own, other = truth == label, (given == label) & is_known
            overlaps[row] = (own & other).sum() / (own | other).sum()
            rows[row] = label if other.any() else -1
        return Recovered(overlaps, rows, labels)

    def export(self, model: VisionModel) -> dict[str, str]:
        """The label map, and the logits that it holds the best of."""
        return {
            "label_map": "(B, H, W) index into detkit.classes of each pixel of the input, without the margin that a "
            "network without padding does not see",
            "logits": "(B, K, h, w) of each class; resized to H x W, bilinearly by centers of pixels, their best is "
            "label_map; resize them on to the given image before the best is chosen",
        }

    def outputs_differ(
        self, given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance
    ) -> str | None:
        """Another class is a difference where the logits of both differ by more than rounding."""
        return unequal_maps(given, own, tolerance)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[SemanticMap]:
        """Logits put back to the given images, then the best class, as the model does it."""
        return exported_label_maps(outputs, batch)

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> MapDifferences:
        """Of the classes of pixels."""
        return MapDifferences(categories, tolerance)

    def report(self, evaluated: Evaluated) -> list[Section]:
        """Metrics, classes and confusions of the pixels, and the images with the most wrong ones."""
        return map_sections(evaluated)

    def doctor(self, dataset: ImageDataset) -> list[str]:
        """Label maps that look wrong."""
        return suspicious_maps(dataset)

    def refusal(self, option: str, model: str) -> str:
        """Explain that label maps have no boxes."""
        return f"{option} is for detectors: leave it out, the {model} answers with the class of each pixel."
