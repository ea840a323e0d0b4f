"""SSD's augmentation (Liu et al., 2016) as albumentations' transforms, which has none that follows the paper."""

from __future__ import annotations

from typing import Any

import albumentations
import numpy as np
from albumentations.augmentations.crops.transforms import BaseCrop

from detkit.errors import InputError

# The boxes of `albumentations_bridge.Bridge` have two more columns: the row, and 1 for a crowd region.
_CROWD = 5


class Expand(albumentations.Pad):
    """Places the image at a random position on a larger plain canvas, so that its objects become small.

    SSD, section 3.6: the canvas has up to 16 times the image's area. In the authors' code the factor of its sides is
    uniform, and half of the images are expanded.

    Args:
        max_factor: the largest ratio of the canvas's sides to the image's.
        fill: color of the canvas; the mean of normalization makes it zero for the network.
        p: probability.

    Raises:
        InputError: max_factor is less than 1.
    """

    class InitSchema(albumentations.BasicTransform.InitSchema):
        max_factor: float
        fill: tuple[float, ...]

    def __init__(
        self, max_factor: float = 4.0, fill: tuple[float, float, float] = (123.0, 117.0, 104.0), p: float = 0.5
    ) -> None:
        if max_factor < 1:
            raise InputError(f"Expand's max_factor must be at least 1, got {max_factor}")
        super().__init__(fill=fill, p=p)
        self.max_factor = max_factor

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The borders of one image in pixels."""
        height, width = params["shape"][:2]
        factor = self.random_generator.uniform(1, self.max_factor)
        free_y, free_x = round(height * (factor - 1)), round(width * (factor - 1))
        top, left = (int(self.random_generator.integers(free + 1)) for free in (free_y, free_x))
        return {"pad_top": top, "pad_bottom": free_y - top, "pad_left": left, "pad_right": free_x - left}


class MinIoUCrop(BaseCrop):
    """Cuts out a patch that overlaps an object by a least IoU, drawn for each image (SSD, section 2.2).

    One of these is chosen at random: the whole image; for each of `min_ious` a patch that has at least that IoU with
    one object or more; a patch without that condition. If no such patch is found, another choice is made. Objects
    whose center lies in the patch stay, cut to it. As in published code, but not in the paper, every
    patch has the center of an object; where there are none, it lies anywhere. Crowd regions stay where they overlap
    the patch: what they cover is no background.

    Args:
        min_ious: the IoUs to choose from.
        scale: smallest and largest side of a square patch, as shares of the image's.
        aspect_ratio: smallest and largest width / height of a patch of a square image.
        trials: patches that are drawn for a choice.
        p: probability.

    Raises:
        InputError: a value is out of range.
    """

    class InitSchema(BaseCrop.InitSchema):
        min_ious: tuple[float, ...]
        scale: tuple[float, float]
        aspect_ratio: tuple[float, float]
        trials: int

    def __init__(
        self,
        min_ious: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9),
        scale: tuple[float, float] = (0.3, 1.0),
        aspect_ratio: tuple[float, float] = (0.5, 2.0),
        trials: int = 50,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        if not 0 < scale[0] <= scale[1] <= 1 or not 0 < aspect_ratio[0] <= 1 <= aspect_ratio[1] or trials < 1:
            raise InputError(
                f"MinIoUCrop needs 0 < low <= high <= 1 for its scale, 0 < low <= 1 <= high for its aspect_ratio and "
                f"positive trials, got {scale}, {aspect_ratio} and {trials}"
            )
        self.min_ious, self.scale, self.aspect_ratio, self.trials = min_ious, scale, aspect_ratio, trials

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The patch of one image."""
        size = np.array(params["shape"][1::-1])
        boxes = np.asarray(data["bboxes"]) if len(data.get("bboxes", ())) else np.zeros((0, 4))
        boxes = boxes[~_crowds(boxes), :4] * np.tile(size, 2)
        choices = [None, 0.0, *(self.min_ious if len(boxes) else ())]
        for choice in self.random_generator.permutation(len(choices)):
            if choices[choice] is None:
                break
            patches = self._patches(size)
            fits = _fits(patches, boxes, choices[choice])
            if fits.any():
                return {"crop_coords": tuple(int(x) for x in patches[fits.argmax()])}
        return {"crop_coords": (0, 0, int(size[0]), int(size[1]))}

    def _patches(self, size: np.ndarray) -> np.ndarray:
        """``(trials, 4)`` whole pixels, at least one wide and high, within an image of `size` (width, height)."""
        random = self.random_generator
        scale = random.uniform(*self.scale, self.trials)
        low, high = np.maximum(self.aspect_ratio[0], scale**2), np.minimum(self.aspect_ratio[1], 1 / scale**2)
        stretch = np.sqrt(random.uniform(low, high))
        sides = np.stack([scale * stretch, scale / stretch], axis=1) * size
        sides = np.clip(np.rint(sides), 1, size)
        corners = np.floor(random.random((self.trials, 2)) * (size - sides + 1))
        return np.concatenate([corners, corners + sides], axis=1)

    def apply_to_bboxes(self, bboxes: np.ndarray, crop_coords: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """The boxes whose center lies in the patch, and crowd regions, as fractions of the patch."""
        size = np.array(params["shape"][1::-1])
        centers = (bboxes[:, :2] + bboxes[:, 2:4]) / 2 * size
        kept = _inside(centers, np.array([crop_coords]))[0] | _crowds(bboxes)
        return super().apply_to_bboxes(bboxes[kept], crop_coords, **params)


def _crowds(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, _CROWD] > 0 if boxes.shape[1] > _CROWD else np.zeros(len(boxes), dtype=bool)


def _fits(patches: np.ndarray, boxes: np.ndarray, min_iou: float) -> np.ndarray:
    """Which of `patches` ``(T, 4)`` hold the center of one of `boxes` ``(N, 4)`` and reach the IoU with one."""
    if len(boxes) == 0:
        return np.ones(len(patches), dtype=bool)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = np.maximum(patches[:, None, :2], boxes[:, :2]), np.minimum(patches[:, None, 2:], boxes[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = (patches[:, 2:] - patches[:, :2]).prod(axis=1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return (common / (areas - common) >= min_iou).any(axis=1) & _inside(centers, patches).any(axis=1)


def _inside(points: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Which of `points` ``(N, 2)`` lie in each of `patches` ``(T, 4)``, bool ``(T, N)``."""
    return np.all((points >= patches[:, None, :2]) & (points <= patches[:, None, 2:]), axis=-1)
