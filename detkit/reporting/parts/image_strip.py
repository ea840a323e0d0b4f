"""Images in a row, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from detkit.reporting.parts.jpeg_urls import jpeg_data_url
from detkit.reporting.parts.rendering import render


@dataclass(frozen=True, eq=False)
class StripImage:
    """An image with its caption.

    Args:
        caption: what it shows.
        image: ``(H, W, 3)`` uint8 RGB.
    """

    caption: str
    image: np.ndarray


def image_strip(title: str, groups: Sequence[Sequence[StripImage]], longest_side: int) -> Markup:
    """Groups of images side by side; those of a group stay together.

    Args:
        title: what they show.
        groups: such as pairs, or single images.
        longest_side: of an image in the page, in pixels; larger ones are reduced.
    """
    drawn = [[(one.caption, jpeg_data_url(one.image, longest_side)) for one in group] for group in groups]
    return render("image_strip.html", title=title, groups=drawn)
