"""The outlines of the shapes, which pixels they cover, and their keypoints."""

from __future__ import annotations

import cv2
import numpy as np

_SUPERSAMPLING = 8  # shapes are drawn this much larger and averaged
_SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel


def outline_of(random: np.random.Generator, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The corners of a shape of radius one around the origin, and those of its hole."""
    circle = polygon(48)
    if name == "disc":
        return circle, None
    if name == "ring":
        return circle, circle * random.uniform(0.45, 0.65)
    if name == "box":
        return polygon(4, np.pi / 4) * (1, random.uniform(0.5, 1)), None
    if name == "triangle":
        return polygon(3), None
    if name == "star":
        star = polygon(10)
        star[1::2] *= 0.45
        return star, None
    if name == "cross":
        arm = 0.3
        quarter = np.array([[arm, arm], [arm, 0.95], [-arm, 0.95]])
        turn = np.array([[0, 1], [-1, 0]])
        return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]), None
    # crescent: a disc of radius 1 without the disc of radius 0.8 around (-0.5, 0); their circles meet at x = -0.61
    outer = np.linspace(-np.arccos(-0.61), np.arccos(-0.61), 30)
    inner = np.linspace(1.709, -1.709, 30)[1:-1]
    outer_arc = np.stack([np.cos(outer), np.sin(outer)], 1)
    inner_arc = np.stack([0.8 * np.cos(inner) - 0.5, 0.8 * np.sin(inner)], 1)
    return np.concatenate([outer_arc, inner_arc]), None


def polygon(corners: int, phase: float = 0.0) -> np.ndarray:
    """The corners ``(corners, 2)`` of a regular polygon of radius one around the origin, the first at angle `phase`."""
    angles = np.arange(corners) * 2 * np.pi / corners + phase
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def coverage_of(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Coverage ``(H, W)`` float32 in 0..1 of a polygon in continuous pixels.

    Supersampled: OpenCV's own antialiasing adds half a pixel all around.
    """
    coverage = np.zeros((height, width), dtype=np.float32)
    x1, y1 = np.clip(np.floor(outline.min(axis=0)), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(outline.max(axis=0)), 0, (width, height)).astype(int).tolist()
    if x2 > x1 and y2 > y1:
        fine = np.zeros(((y2 - y1) * _SUPERSAMPLING, (x2 - x1) * _SUPERSAMPLING), dtype=np.uint8)
        points = (outline - (x1, y1)) * _SUPERSAMPLING - 0.5  # OpenCV counts from pixel centers
        cv2.fillPoly(fine, [np.round(points * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_8, _SHIFT)
        part = cv2.resize(fine, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        coverage[y1:y2, x1:x2] = part.astype(np.float32) / 255
    return coverage


def keypoints_of(outline: np.ndarray, center: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(5, 3)`` ``x y visibility`` of the center and the extreme corners; zeros outside the image."""
    extremes = [outline[:, 1].argmin(), outline[:, 0].argmax(), outline[:, 1].argmax(), outline[:, 0].argmin()]
    points = np.concatenate([center[None], outline[extremes]])
    inside = np.all((points >= 0) & (points < (width, height)), axis=1)
    return np.concatenate([points, np.where(inside, 2.0, 0.0)[:, None]], axis=1) * inside[:, None]
