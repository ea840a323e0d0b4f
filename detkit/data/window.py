"""A part of a picture, scaled, placed and mirrored: exact for pixels, masks, boxes and points alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from detkit.structures import Target

PADDING = (124, 116, 104)  # the mean colour of ImageNet: about zero once normalised


@dataclass(frozen=True)
class Window:
    """The part ``x y width height`` of a picture, where it is placed on a new one, and whether that is mirrored."""

    x: int
    y: int
    width: int
    height: int
    place_x: int
    place_y: int
    place_width: int
    place_height: int
    new_width: int
    new_height: int
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def scale(self) -> np.ndarray:
        return np.array([self.place_width / self.width, self.place_height / self.height])

    def cut(self, random: np.random.Generator, fraction: np.ndarray, target: Target) -> Window:
        """A part of the picture with a random object's centre in it."""
        size = np.array([self.width, self.height])
        part = np.maximum(np.round(size * fraction), 1).astype(int)
        low, high = np.zeros(2), size - part
        boxes = target.objects().boxes.numpy()
        if len(boxes):
            box = boxes[random.integers(len(boxes))]
            centre = np.clip((box[:2] + box[2:]) / 2, 0, size)
            low, high = np.clip(centre - part, 0, high), np.clip(centre, 0, high)
        x, y = random.uniform(low, high + 1e-9).round().astype(int).tolist()
        width, height = part.tolist()
        return Window(x, y, width, height, 0, 0, width, height, width, height)

    def zoomed(self, random: np.random.Generator, factor: float) -> Window:
        """The content scaled by `factor` inside the same new picture."""
        size = np.array([self.width, self.height])
        part = np.maximum(np.round(size * min(factor, 1 / factor)), 1).astype(int)
        x, y = random.integers(0, size - part + 1).tolist()
        width, height = part.tolist()
        if factor >= 1:
            return replace(self, x=self.x + x, y=self.y + y, width=width, height=height)
        return replace(self, place_x=x, place_y=y, place_width=width, place_height=height)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` uint8."""
        image = image[self.y : self.y + self.height, self.x : self.x + self.width]
        if self._is_scaled():
            image = cv2.resize(image, (self.place_width, self.place_height), interpolation=self._interpolation())
        if self._is_padded():
            right, bottom = self.new_width - self.place_width, self.new_height - self.place_height
            margins = (self.place_y, bottom - self.place_y, self.place_x, right - self.place_x)
            image = cv2.copyMakeBorder(image, *margins, cv2.BORDER_CONSTANT, value=PADDING)
        flip = {(True, False): 1, (False, True): 0, (True, True): -1}.get((self.mirror_x, self.mirror_y))
        return np.ascontiguousarray(image) if flip is None else cv2.flip(image, flip)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """``(N, H, W)`` bool."""
        masks = masks[:, self.y : self.y + self.height, self.x : self.x + self.width]
        if self._is_scaled():
            size, interpolation = (self.place_width, self.place_height), self._interpolation()
            scaled = [cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=interpolation) for mask in masks]
            masks = np.reshape(scaled, (len(masks), self.place_height, self.place_width)) >= 128
        if self._is_padded():
            canvas = np.zeros((len(masks), self.new_height, self.new_width), dtype=bool)
            rows = slice(self.place_y, self.place_y + self.place_height)
            canvas[:, rows, self.place_x : self.place_x + self.place_width] = masks
            masks = canvas
        return np.ascontiguousarray(masks[:, :: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])

    def points(self, points: np.ndarray) -> np.ndarray:
        """``(..., 2)`` x y from the old picture to the new one."""
        points = (points - (self.x, self.y)) * self.scale + (self.place_x, self.place_y)
        new_size = np.array([self.new_width, self.new_height])
        return np.where([self.mirror_x, self.mirror_y], new_size - points, points)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """``(N, 4)`` from the old picture to the new one."""
        corners = self.points(boxes.reshape(-1, 2, 2))
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def _is_scaled(self) -> bool:
        return (self.place_width, self.place_height) != (self.width, self.height)

    def _is_padded(self) -> bool:
        return (self.new_width, self.new_height) != (self.place_width, self.place_height)

    def _interpolation(self) -> int:
        return cv2.INTER_AREA if self.scale.min() < 0.5 else cv2.INTER_LINEAR
