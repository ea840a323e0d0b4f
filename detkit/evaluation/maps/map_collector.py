"""The base class of evaluators of maps: it compares each answer at once with the map of its target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.evaluator import Evaluator
from detkit.evaluation.ground_truth import label_positions, plain_id
from detkit.evaluation.maps.map_truth import read_map_truth
from detkit.structures import Category, Target


class MapCollector(Evaluator):
    """Compares maps image by image; the base of `SemanticEvaluator` and `PanopticEvaluator`.

    The truth is the map of a target, whose labels are positions among the categories of the annotations, sorted by id.
    Images whose target has no map are left out, and so are images that are never updated.

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
    answers_called = "maps"

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        super().__init__(annotations, categories)
        self.truth = read_map_truth(annotations)
        self.categories = list(self.truth.categories if categories is None else categories)
        self.positions = label_positions(self.categories, self.truth.categories, self.truth.source)

    def keep(self, target: Target, answer: Any) -> object:
        """What `compare` gives for an image; None where its target has no map.

        Raises:
            InputError: the answer has no map of that size, or a value of either map stands for no class.
        """
        image_id = plain_id(target.image_id)
        truth: Tensor | None = getattr(target, self.reads, None)
        if truth is None:
            return None
        given = getattr(answer, self.reads, None)
        if given is None:
            raise InputError(
                f"the answer for image {image_id!r} is a {type(answer).__name__} without a {self.reads}: evaluate a "
                "model that gives one"
            )
        if truth.shape != given.shape:
            raise InputError(
                f"image {image_id!r}: the {self.reads} of the answer has shape {tuple(given.shape)}, that of the "
                f"target {tuple(truth.shape)}; give both at the size of the image"
            )
        return self.compare(image_id, truth.detach().cpu(), given.detach().cpu())

    def compare(self, image_id: Any, truth: Tensor, answer: Tensor) -> object:
        """Compare the maps of an image, both on the CPU; gives what is kept of it. A subclass implements it."""
        raise NotImplementedError

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        if image_id not in self.truth.image_numbers:
            known = ", ".join(repr(one) for one in self.truth.image_ids[:3])
            raise InputError(
                f"{source}: image id {image_id!r} is not among the {len(self.truth.image_ids)} images of "
                f"{self.truth.source} ({known} …); evaluate against the annotations that the answers were made for"
            )

    def measured(self) -> tuple[list[Any], list[Any]]:
        """The ids of the images that have a map and an answer, in the order of the annotations, and what is kept of
        each; says once which are left out."""
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
