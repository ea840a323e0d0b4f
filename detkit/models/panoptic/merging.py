"""Detections and the classes of pixels merged to one map (Kirillov 2019, section 3, "panoptic inference").

B  images of one size     H, W  their height and width     K  classes, things and stuff
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from detkit.errors import InputError
from detkit.geometry import rows_alike
from detkit.object_config import Described
from detkit.ops import RunLengths, rle_to_masks
from detkit.structures import Detections, PanopticMap, SemanticMap
from detkit.structures.device_transfer import to_device
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES, label_map_dtype


class MergeRule(Described):
    """Which objects and which stuff a panoptic map shows. An object hides those that score less, and all stuff.

    Args:
        score_threshold: of an object.
        overlap_threshold: the share of an object's pixels that may be hidden; an object with more is left out.
        stuff_area_threshold: the fewest pixels of a class of stuff in an image; below 1 a share of the image's pixels.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self, score_threshold: float = 0.5, overlap_threshold: float = 0.5, stuff_area_threshold: float = 4096
    ) -> None:
        if not 0 <= score_threshold <= 1 or not 0 <= overlap_threshold <= 1 or stuff_area_threshold < 0:
            raise InputError(
                "a MergeRule needs score_threshold and overlap_threshold in [0, 1] and stuff_area_threshold of at "
                f"least 0, got {score_threshold}, {overlap_threshold} and {stuff_area_threshold}"
            )
        self.score_threshold, self.overlap_threshold = score_threshold, overlap_threshold
        self.stuff_area_threshold = stuff_area_threshold

    @torch.no_grad()
    def merged(
        self, detections: Sequence[Detections], classes: Sequence[SemanticMap], are_things: Sequence[bool]
    ) -> list[PanopticMap]:
        """The panoptic maps of several images, those of one size at once.

        Args:
            detections: of each image, with masks, best first. Those of stuff, which a network finds before it is
                trained, are left out.
            classes: of the pixels of each image; the value K stands for all things.
            are_things: whether each of the K classes is a thing.
        """
        things, shown = self._things(detections, are_things)
        made: dict[int, PanopticMap] = {}
        for images in rows_alike(one.label_map.shape for one in classes):
            own = [things[image] for image in images]
            pixels = torch.stack([classes[image].label_map for image in images])
            maps = self._maps(own, [shown[image] for image in images], pixels, len(are_things))
            for image, found, panoptic_map, label_map in zip(images, own, *maps, strict=True):
                made[image] = PanopticMap(panoptic_map, found, SemanticMap(label_map))
        return [made[image] for image in range(len(classes))]

    def _maps(
        self, detections: Sequence[Detections], shown: Sequence[int], classes: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """The panoptic maps and the label maps ``(B, H, W)`` of images of one size, whose `classes` are so too."""
        values = classes.long()
        instances = self._instances(detections, shown, values)
        is_object = instances > 0
        of_rows = pad_sequence([torch.nn.functional.pad(one.labels, (1, 0)) for one in detections], batch_first=True)
        objects = of_rows.gather(1, instances.flatten(1)).view_as(instances)
        is_stuff = (values >= 0) & (values < count) & ~is_object
        stuff = torch.where(is_stuff, values, count)
        pixels = torch.zeros(len(values), count + 1, dtype=torch.int64, device=values.device)
        pixels.scatter_add_(1, stuff.flatten(1), torch.ones_like(stuff).flatten(1))
        fewest = (
            self.stuff_area_threshold * values[0].numel()
            if self.stuff_area_threshold < 1
            else self.stuff_area_threshold
        )
        is_large = (pixels >= fewest).gather(1, stuff.flatten(1)).view_as(stuff)
        of_stuff = torch.where(is_stuff & is_large, stuff * INSTANCES, -1)
        dtype = label_map_dtype(count)
        known = torch.where(is_object, objects, torch.where(is_stuff, values, IGNORE_INDEX[dtype]))
        return torch.where(is_object, objects * INSTANCES + instances, of_stuff).int(), known.to(dtype)

    def _instances(self, detections: Sequence[Detections], shown: Sequence[int], values: Tensor) -> Tensor:
        """The row of the object at each pixel ``(B, H, W)`` int64, from 1; 0 where there is none."""
        instances = torch.zeros_like(values)
        best = zip(detections, shown, strict=True)
        masks = [list(_first_masks(one, count, values.device)) for one, count in best]
        none = torch.zeros_like(values[0], dtype=torch.bool)
        for row in range(max(map(len, masks), default=0)):  # the order matters, but nothing here waits for a device
            mask = torch.stack([own[row] if row < len(own) else none for own in masks])
            free = mask & (instances == 0)
            area, visible = mask.sum(dim=(1, 2)), free.sum(dim=(1, 2))
            is_kept = (area > 0) & (area - visible <= self.overlap_threshold * area)
            instances = torch.where(free & is_kept[:, None, None], row + 1, instances)
        return instances

    def _things(
        self, detections: Sequence[Detections], are_things: Sequence[bool]
    ) -> tuple[Sequence[Detections], list[int]]:
        """The detections of things, and how many of each image score enough; waits for the device once."""
        if not detections:
            return detections, []
        scores, labels = (torch.cat([getattr(one, name) for one in detections]) for name in ("scores", "labels"))
        values = torch.stack((scores.double(), labels.double())).cpu().numpy()
        is_thing = np.array(are_things, dtype=bool)[values[1].astype(np.int64)]
        ends = np.cumsum([len(one) for one in detections])[:-1]
        shown = [int(own.sum()) for own in np.split(is_thing & (values[0] >= np.float32(self.score_threshold)), ends)]
        if is_thing.all():
            return detections, shown
        rows = [torch.from_numpy(np.flatnonzero(own)) for own in np.split(is_thing, ends)]
        return [one[to_device(own, labels.device)] for one, own in zip(detections, rows, strict=True)], shown


def _first_masks(detections: Detections, count: int, device: torch.device) -> Tensor:
    """The masks ``(count, H, W)`` bool of the first objects, on `device`."""
    assert detections.masks is not None, "objects are merged by their masks"
    masks = detections.masks[:count]
    return rle_to_masks(masks).to(device) if isinstance(masks, RunLengths) else masks
