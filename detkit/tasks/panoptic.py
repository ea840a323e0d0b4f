"""Panoptic segmentation: a class and an instance for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from detkit.data.faults.suspicious_boxes import suspicious_boxes
from detkit.data.faults.suspicious_labels import suspicious_labels
from detkit.errors import InputError
from detkit.evaluation import Evaluator, PanopticEvaluator
from detkit.geometry import Placement
from detkit.heads import Context
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.heads.pixel.stuff import are_possible
from detkit.preprocess import Batch
from detkit.results import color_png, label_png, panoptic_content, panoptic_png, to_coco_panoptic
from detkit.structures import Category, Detections, PanopticMap, Target
from detkit.tasks.detection import Detection
from detkit.tasks.differences.output_agreement import Tolerance, unequal_detections, unequal_numbers
from detkit.tasks.differences.panoptic_differences import PanopticDifferences
from detkit.tasks.exported_answers import exported_detections
from detkit.tasks.recovered_objects import Recovered
from detkit.tasks.recovered_segments import perfect_answer, recovered_segments
from detkit.tasks.task import NamedEvaluator, Task
from detkit.visualization.image_files import to_image_array
from detkit.visualization.panoptic_drawing import draw_panoptic_map

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.data.image_dataset import ImageDataset
    from detkit.models import VisionModel


class Panoptic(Task):
    """The objects and the stuff of an image, each pixel once."""

    name = "panoptic segmentation"
    answer = PanopticMap
    parts = frozenset({"panoptic_map", "label_map", "boxes", "labels", "masks"})
    evaluators: tuple[type[Evaluator], ...] = (PanopticEvaluator,)
    named = {"panoptic": NamedEvaluator(PanopticEvaluator, "panoptic_map")}  # noqa: RUF012
    results_file = "panoptic.json"
    answer_files = {"panoptic.png": True, "labels.png": False, "colors.png": False}  # noqa: RUF012
    least_score = 0.5

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data whose classes are all things or all stuff."""
        super().check_data(model, data)
        kinds = {category.is_thing for category in data.categories}
        if len(kinds) == 1:
            every = "things" if kinds == {True} else "stuff"
            raise InputError(
                f"all {len(data.categories)} classes of {data.train_dataset.annotations_path} are {every}, but the "
                f'{type(model).__name__} learns things and stuff: write "isthing": 0 into the categories of stuff'
            )

    def select(self, answer: PanopticMap, least_score: float) -> PanopticMap:
        """The map without the objects that score less."""
        return answer.at_least(least_score)

    def objects(self, answer: PanopticMap) -> Detections:
        """Those that the map is merged from."""
        return answer.detections

    def results(self, answer: PanopticMap, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The size and the ``segments_info`` of COCO's panoptic format; ids are those of the pixels of
        ``panoptic.png``."""
        segments, _ = to_coco_panoptic(answer, categories)
        named = {category.id: category for category in categories}
        height, width = answer.panoptic_map.shape
        return [
            {
                "height": height,
                "width": width,
                "segments_info": [
                    {
                        **one,
                        "category": named[one["category_id"]].name,
                        "isthing": int(named[one["category_id"]].is_thing),
                    }
                    for one in segments
                ],
            }
        ]

    def results_content(
        self, entries: Sequence[dict[str, Any]], files: Sequence[Mapping[str, str]], categories: Sequence[Category]
    ) -> dict[str, Any]:
        """A panoptic file of COCO: images, annotations and categories."""
        return panoptic_content(entries, files, categories)

    def answer_file(self, ending: str, answer: PanopticMap, categories: Sequence[Category]) -> bytes:
        """Ids of segments as COCO's PNG, or ids or colors of categories."""
        if ending == "panoptic.png":
            return panoptic_png(answer, categories)
        return {"labels.png": label_png, "colors.png": color_png}[ending](answer.semantic, categories)

    def draw_truth(self, image: np.ndarray | Tensor, target: Target, categories: Sequence[Category]) -> np.ndarray:
        """The segments of the target over the image."""
        if target.panoptic_map is None:
            return to_image_array(image)
        return draw_panoptic_map(image, target.panoptic_map, categories)

    def resized(self, answer: Any, given: tuple[int, int], size: tuple[int, int]) -> Any:
        """As of `Drawing.resized`, all parts of the answer."""
        if not isinstance(answer, PanopticMap):
            return super().resized(answer, given, size)
        kind = answer.kinds()["panoptic_map"]
        return answer.with_fitting(
            {
                "panoptic_map": kind.move(answer.panoptic_map, Placement.resize(given, size), ()),
                "detections": super().resized(answer.detections, given, size),
                "semantic": super().resized(answer.semantic, given, size),
            }
        )

    def title(self, answer: Any, score_threshold: float) -> str:
        """With the score from which on objects are shown."""
        return f"Panoptic maps, score ≥ {score_threshold:g}"

    def doctor(self, dataset: ImageDataset) -> list[str]:
        """Boxes in another format than they are read in, and classes that look wrong."""
        return [*suspicious_boxes(dataset), *suspicious_labels(dataset)]

    def truth(self, target: Target) -> PanopticMap | None:
        """The panoptic map of the target with its objects; None where it is not annotated."""
        return None if target.panoptic_map is None else perfect_answer(target.panoptic_map)

    def recovered(self, target: Target, answer: PanopticMap) -> Recovered:
        """The IoU of each segment with the one of its class that overlaps it most; crowds are left out."""
        if target.panoptic_map is None:
            return Recovered(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        crowds = () if target.labels is None else set(target.labels[target.crowd_rows].tolist())
        return recovered_segments(target.panoptic_map, answer, crowds)

    def export(self, model: VisionModel) -> dict[str, str]:
        """The objects, and what the map is merged from."""
        return {
            **Detection().export(model),
            "semantic": "(B, K + 1, h, w) logits of each class of stuff of detkit.classes, and last of all things; "
            "resized to H x W, bilinearly by centers of pixels, and on to the given image before the best is chosen",
        }

    def outputs_differ(
        self, given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance
    ) -> str | None:
        """Objects are compared in pairs, logits number for number."""
        theirs, ours = ({name: one for name, one in all.items() if name != "semantic"} for all in (given, own))
        possible = are_possible(own["semantic"])  # others would make the numbers look large
        their_logits, our_logits = ({"semantic": all["semantic"].where(possible, 0)} for all in (given, own))
        return unequal_detections(theirs, ours, tolerance) or unequal_numbers(their_logits, our_logits, tolerance)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[PanopticMap]:
        """Objects pasted and classes of pixels put back to the given images, and merged, as the model does it."""
        merged: list[PanopticMap] = model.merged(  # type: ignore[operator]  # of models that answer so
            exported_detections(outputs, batch, model.clips_boxes), PixelOutput(outputs["semantic"]), Context(batch)
        )
        return merged

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> PanopticDifferences:
        """Of the objects in pairs, and of the classes of pixels."""
        return PanopticDifferences(categories, tolerance)

    def refusal(self, option: str, model: str) -> str:
        """Explain which options are for COCO's evaluation."""
        return f"{option} is for COCO's evaluation: leave it out, or list a CocoEvaluator under evaluators."
