"""The mask, the box and the keypoints of one object, drawn into an image ``(H, W, 3)``."""

from __future__ import annotations

import cv2
import numpy as np

from detkit.visualization.colors import Color

_MASK_OPACITY = 0.4


def draw_mask(canvas: np.ndarray, mask: np.ndarray, color: Color, thickness: int) -> None:
    """Tint the pixels of a mask and trace its edge."""
    mask = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    inside = mask[y : y + height, x : x + width].astype(bool)
    region = canvas[y : y + height, x : x + width]
    region[inside] = ((1 - _MASK_OPACITY) * region[inside] + _MASK_OPACITY * np.array(color)).round()
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, color, max(1, thickness // 2), cv2.LINE_AA)


def draw_box(canvas: np.ndarray, box: np.ndarray, color: Color, thickness: int, dashed: bool) -> None:
    """The outline of a box, its outermost pixels given; that of crowds is dashed."""
    left, top, right, bottom = box.tolist()
    if not dashed:
        cv2.rectangle(canvas, (left, top), (right, bottom), color, thickness)
        return
    for start, end in (
        ((left, top), (right, top)),
        ((right, top), (right, bottom)),
        ((right, bottom), (left, bottom)),
        ((left, bottom), (left, top)),
    ):
        _draw_dashes(canvas, np.array(start), np.array(end), color, thickness)


def _draw_dashes(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color, thickness: int) -> None:
    length, dash = float(np.linalg.norm(end - start)), 5 * thickness
    for offset in np.arange(0, length, 2 * dash):
        stretch = np.array([offset, min(offset + dash, length)]) / length
        first, last = (start + stretch[:, None] * (end - start)).round().astype(int).tolist()
        cv2.line(canvas, first, last, color, thickness)


def draw_keypoints(canvas: np.ndarray, points: np.ndarray, color: Color, thickness: int, visibilities: bool) -> None:
    """Dots with a white rim; of ground truth, hidden points are rings and absent ones are left out."""
    height, width = canvas.shape[:2]
    for x, y, visibility in np.nan_to_num(points).tolist():
        if visibilities and visibility == 0:
            continue
        center = round(min(max(x, -9), width + 9)), round(min(max(y, -9), height + 9))
        hidden = visibilities and visibility == 1
        cv2.circle(canvas, center, 2 * thickness + 1, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, center, 2 * thickness, color, 1 if hidden else -1, cv2.LINE_AA)
