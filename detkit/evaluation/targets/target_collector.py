"""The base class of evaluators whose truth comes with the targets, which knows the images and classes of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.evaluation.evaluator import Evaluator
from detkit.evaluation.ground_truth import label_positions
from detkit.evaluation.targets.target_truth import read_target_truth
from detkit.structures import Category


class TargetCollector(Evaluator):
    """Compares answers image by image with their targets; the base of the evaluators of maps and of meshes.

    The labels of targets are positions among the categories of the annotations, sorted by id. Images whose target lacks
    what the evaluator `reads` are left out, and so are images that are never updated.

    Args:
        annotations: path of a COCO file with the images and categories of the data, or its content.
        categories: the model's; ``categories[k]`` is the class of label ``k``. They are matched to those of the
            annotations by name. Default: the annotations' own.

    Attributes:
        truth: the images and classes.
        positions: int64 ``(K,)`` the class of each label of the model; -1 for unused labels.

    Raises:
        InputError: the annotations cannot be read, or a category is not among theirs.
    """

    scale = 100.0
    weights_answers = True
    extras = frozenset({"bootstrap"})

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        super().__init__(annotations, categories)
        self.truth = read_target_truth(annotations)
        self.categories = list(self.truth.categories if categories is None else categories)
        self.positions = label_positions(self.categories, self.truth.categories, self.truth.source)

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        if image_id not in self.truth.image_numbers:
            known = ", ".join(repr(one) for one in self.truth.image_ids[:3])
            raise InputError(
                f"{source}: image id {image_id!r} is not among the {len(self.truth.image_ids)} images of "
                f"{self.truth.source} ({known} …); evaluate against the annotations that the answers were made for"
            )

    def measured(self) -> tuple[list[Any], list[Any]]:
        """The ids of the images that have an answer and what is read of their target, in the order of the annotations,
        and what is kept of each; says once which are left out."""
        numbers = self.truth.image_numbers
        ordered = sorted(self.kept, key=numbers.__getitem__)
        without = [image_id for image_id in ordered if self.kept[image_id] is None]
        if without:
            self.warn_once(
                f"{self.name}: {len(without)} of {len(ordered)} images have no {self.reads}, image {without[0]!r} "
                "first: they are left out"
            )
        ids = [image_id for image_id in ordered if self.kept[image_id] is not None]
        return ids, [self.kept[image_id] for image_id in ids]

    def check_measured(self, ids: Sequence[Any]) -> None:
        """Raise an `InputError` where there are no images to resample."""
        if not ids or not self.truth.categories:
            raise InputError(
                f"{self.truth.source} has no images with a {self.reads} and an answer, so there is nothing to "
                "resample: give other data."
            )
