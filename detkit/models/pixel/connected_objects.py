"""Objects of a model of pixels: the connected components of the classes of things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from detkit.errors import InputError
from detkit.object_config import Described
from detkit.ops.maps.connected_components import connected_components
from detkit.ops.masks.numbered import numbered_boxes, numbered_to_rle
from detkit.precise import precise
from detkit.structures import Category, Detections, PanopticMap, SemanticMap
from detkit.structures.device_transfer import to_device
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES


class ConnectedObjects(Described):
    """Makes an object of each connected component of each class of things, and a panoptic map of these and of stuff.

    Pixels that share a side or a corner are connected. The score of an object is the mean probability of its class in
    the component. An image has at most 65,535 objects, those with the best scores.

    Args:
        border: the name of a class that keeps objects apart, as of `detkit.data.InstanceMaps`. It is not in the
            panoptic map: there its pixels are of the nearest object within `reach`, and else of the likeliest other
            class of stuff. None: there is no such class.
        reach: in pixels, from center to center.
        min_area: the fewest pixels of a component; one with fewer becomes the likeliest class of stuff.

    Raises:
        InputError: a number is negative.
    """

    def __init__(self, border: str | None = None, reach: float = 3.0, min_area: int = 1) -> None:
        if reach < 0 or min_area < 0:
            raise InputError(f"ConnectedObjects needs reach and min_area of at least 0, got {reach} and {min_area}")
        self.border, self.reach, self.min_area = border, reach, min_area

    @torch.no_grad()
    def answers(
        self, classes: Sequence[SemanticMap], logits: Sequence[Tensor], categories: Sequence[Category] | None
    ) -> list[PanopticMap]:
        """The objects and the stuff of images, with `classes` as their semantic part.

        Args:
            classes: the class of each pixel of each image as given.
            logits: of the same pixels ``(K, H, W)``.
            categories: of the model, which tell things from stuff.

        Raises:
            InputError: the categories are unknown, or lack the border or stuff.
        """
        things, stuff = self._things_and_stuff(categories)
        return [self._answer(*one, things, stuff) for one in zip(classes, logits, strict=True)]

    def _things_and_stuff(self, categories: Sequence[Category] | None) -> tuple[list[int], list[int]]:
        """The labels of things, and those of stuff without the border."""
        if categories is None:
            raise InputError("ConnectedObjects: model.categories must say which classes are things: set them")
        names = [one.name for one in categories]
        if self.border is not None and self.border not in names:
            raise InputError(
                f"ConnectedObjects: there is no class {self.border!r} among {', '.join(names)}: name the class of "
                "borders, or give border=None"
            )
        things = [label for label, one in enumerate(categories) if one.is_thing and one.name != self.border]
        stuff = [label for label, one in enumerate(categories) if not one.is_thing and one.name != self.border]
        if not stuff:
            raise InputError(
                f"ConnectedObjects: all of the classes {', '.join(names)} are things, so that nothing lies between "
                "objects: let the data say what is stuff, such as a background"
            )
        return things, stuff

    def _answer(self, answer: SemanticMap, logits: Tensor, things: list[int], stuff: list[int]) -> PanopticMap:
        best, likeliest = precise(logits).softmax(dim=0).amax(dim=0), logits[stuff].argmax(dim=0)
        # In one transfer, since each waits for the device.
        on_host = torch.stack([one.to(best) for one in (answer.label_map, best, likeliest)]).cpu().numpy()
        labels, best_of_pixels, likeliest_stuff = on_host[0].astype(np.int64), on_host[1], on_host[2].astype(np.int64)
        values = np.where(labels == IGNORE_INDEX[answer.label_map.dtype], -1, labels)
        numbers, classes = connected_components(values, things)
        numbers, classes, scores = self._best_first(numbers, classes, best_of_pixels)
        if self.border is not None:
            _grow(numbers, (values >= 0) & ~np.isin(values, [*things, *stuff]), self.reach)
        is_other = (numbers == 0) & (values >= 0) & ~np.isin(values, stuff)
        values[is_other] = np.array(stuff)[likeliest_stuff[is_other]]
        values = np.where(numbers > 0, np.append(0, classes)[numbers], values)
        panoptic = np.where(values < 0, -1, values * INSTANCES + numbers).astype(np.int32)
        device = answer.label_map.device
        found = Detections(
            to_device(numbered_boxes(numbers, len(classes)), device),
            to_device(torch.from_numpy(scores.astype(np.float32)), device),
            to_device(torch.from_numpy(classes), device),
            masks=numbered_to_rle(numbers, len(classes)),
        )
        return PanopticMap(to_device(torch.from_numpy(panoptic), device), found, answer)

    def _best_first(
        self, numbers: np.ndarray, classes: np.ndarray, probabilities: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The components that are objects, numbered anew from the best on; their classes and their scores."""
        flat = numbers.ravel()
        areas = np.bincount(flat, minlength=len(classes) + 1)[1:]
        sums = np.bincount(flat, probabilities.ravel(), minlength=len(classes) + 1)[1:]
        scores = sums / np.maximum(areas, 1)
        order = np.argsort(-scores, kind="stable")
        order = order[areas[order] >= self.min_area][: INSTANCES - 1]
        renumbered = np.zeros(len(classes) + 1, dtype=np.int32)
        renumbered[1 + order] = np.arange(1, len(order) + 1)
        return renumbered[numbers], classes[order], scores[order]


def _grow(numbers: np.ndarray, border: np.ndarray, reach: float) -> None:
    """Give the pixels of the border the number of the nearest object, in place, if it is near enough."""
    if not (border.any() and numbers.any()):
        return
    distances, nearest = ndimage.distance_transform_edt(numbers == 0, return_indices=True)
    near = border & (distances <= reach)
    numbers[near] = numbers[tuple(nearest[:, near])]
