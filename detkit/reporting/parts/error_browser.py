"""The browser of errors: images with their ground truth beside the answers, filtered by kind of error, class and score.

An answer is correct or has one kind of error. An object takes the kind of an answer that names it and whose score is
within the filter, the first in the order of the kinds, and its own kind where there is none, such as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from detkit.reporting.parts.jpeg_urls import jpeg_data_url
from detkit.reporting.parts.mark_shapes import Shape
from detkit.reporting.parts.rendering import render


@dataclass(frozen=True)
class ErrorKind:
    """A kind of error.

    Args:
        name: of the kind.
        what: a phrase that says what it is.
        color: one of the eight colors of the style sheet, by its number; None: that of its position.
    """

    name: str
    what: str
    color: int | None = None


@dataclass(frozen=True, eq=False)
class Mark:
    """An object or an answer in an image.

    Args:
        label: its class, as a position in the names of classes.
        kind: its kind, as a position in the kinds.
        box: ``x y width height`` in pixels; None: it stands for the whole image.
        score: of an answer.
        object: the object that an answer names, as a position among those of the image; -1 for none.
        iou: of an answer with an object; None where it has none.
        shape: its mask or keypoints; None where it has none.
    """

    label: int
    kind: int
    box: Sequence[float] | None = None
    score: float | None = None
    object: int = -1
    iou: float | None = None
    shape: Shape | None = None

    @property
    def plain(self) -> list[Any]:
        """The values for the script of the page."""
        score, iou = (None if one is None else round(float(one), 4) for one in (self.score, self.iou))
        box = None if self.box is None else [round(float(value), 2) for value in self.box]
        shape = [] if self.shape is None else [self.shape.plain]
        return [int(self.label), int(self.kind), box, score, int(self.object), iou, *shape]


@dataclass(frozen=True, eq=False)
class BrowserImage:
    """An image of the browser.

    Args:
        name: of the image, such as its file's.
        image: ``(H, W, 3)`` uint8 RGB.
        objects: its ground truth.
        answers: what the model said.
    """

    name: str
    image: np.ndarray
    objects: Sequence[Mark]
    answers: Sequence[Mark]


def error_browser(
    images: Sequence[BrowserImage],
    classes: Sequence[str],
    kinds: Sequence[ErrorKind],
    total: int,
    order: str,
    longest_side: int,
    least_score: float | None = None,
    first_score: float = 0.0,
) -> Markup:
    """The images, worst first.

    Args:
        images: those that the page shows.
        classes: the names of the classes.
        kinds: the kinds of errors; the first is no error.
        total: the number of images that were evaluated.
        order: a phrase that says which images are shown, such as "the most errors".
        longest_side: of the images on the page, in pixels; larger ones are reduced.
        least_score: answers below it are not in `images`; None: there is no filter by score.
        first_score: the score that is filtered by at first.
    """
    colors = [position if kind.color is None else kind.color for position, kind in enumerate(kinds)]
    marks = [mark for one in images for mark in (*one.objects, *one.answers)]
    content = {
        "classes": list(classes),
        "kinds": [{"name": kind.name, "color": color} for kind, color in zip(kinds, colors, strict=True)],
        "images": [
            {
                "name": one.name,
                "height": one.image.shape[0],
                "width": one.image.shape[1],
                "url": jpeg_data_url(one.image, longest_side),
                "objects": [mark.plain for mark in one.objects],
                "answers": [mark.plain for mark in one.answers],
            }
            for one in images
        ],
        "score": first_score,
    }
    return render(
        "error_browser.html",
        content=content,
        shown=len(images),
        total=total,
        order=order,
        kinds=list(zip(kinds, colors, strict=True)),
        has_boxes=any(mark.box is not None for mark in marks),
        classes=classes,
        least_score=least_score,
        first_score=first_score,
    )
