"""The connected components of the classes of a label map."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np


def connected_components(labels: np.ndarray, classes: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected components of some classes. Pixels that share a side or a corner are connected.

    OpenCV finds them (Bolelli et al., "Spaghetti labeling", 2019).

    Args:
        labels: ``(H, W)``, the class of each pixel.
        classes: those whose components are numbered.

    Returns:
        int32 ``(H, W)``, the number of the component of each pixel, from 1, and 0 elsewhere; int64 ``(N,)``, the class
        of each component. They are in the order of `classes`, those of one class in the order of their first pixels,
        row by row.
    """
    numbers, of = np.zeros(labels.shape, dtype=np.int32), [np.zeros(0, dtype=np.int64)]
    for label in classes:
        count, found = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
        numbers += _in_order(found, count, first=sum(map(len, of)) + 1)
        of.append(np.full(count - 1, label, dtype=np.int64))  # the component 0 is the rest of the image
    return numbers, np.concatenate(of)


def _in_order(found: np.ndarray, count: int, first: int) -> np.ndarray:
    """Components ``1..count-1`` numbered anew from `first`, in the order of their first pixels."""
    flat, first_pixels = found.ravel(), np.zeros(count, dtype=np.int64)
    first_pixels[flat[::-1]] = np.arange(flat.size)[::-1]  # of equal indices the last is kept
    renumbered = np.zeros(count, dtype=np.int32)
    renumbered[1 + np.argsort(first_pixels[1:])] = np.arange(first, first + count - 1)
    numbers: np.ndarray = renumbered[found]
    return numbers
