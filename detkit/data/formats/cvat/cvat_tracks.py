"""The tracks of CVAT's XML "for video": where an object is in each frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from detkit.data.formats.cvat.cvat_shapes import points_of
from detkit.errors import InputError
from detkit.files.text_documents import numbers_in, whole_number_in
from detkit.files.xml_documents import Element

_NUMBERS = {
    "box": ("xtl", "ytl", "xbr", "ybr", "rotation"),
    "ellipse": ("cx", "cy", "rx", "ry", "rotation"),
}

_MOST_FRAMES = 2**24
"""Three days of video; a wrong number must not fill the memory."""


def shapes_by_frame(track: Element) -> Iterator[tuple[int, Element]]:
    """Each frame in which the object of a track is visible, with its shape there.

    CVAT writes every frame; between frames of a file that has the keyframes alone, numbers and points are interpolated
    linearly. A shape that is ``outside`` ends the object until the next one.

    Raises:
        InputError: a frame is no number, or two polygons or masks cannot be interpolated.
    """
    shapes = sorted(((_frame(shape), shape) for shape in track.children()), key=lambda pair: pair[0])
    for (frame, shape), (after, following) in pairwise([*shapes, (0, Element("box"))]):
        if shape.attributes.get("outside") == "1":
            continue
        yield frame, shape
        for between in range(frame + 1, after):
            yield between, _between(shape, following, (between - frame) / (after - frame), between)


def _frame(shape: Element) -> int:
    frame = whole_number_in(shape.attributes.get("frame", ""))
    if frame is None or not 0 <= frame < _MOST_FRAMES:
        raise InputError(f"the frame {shape.attributes.get('frame')!r} in line {shape.line} is no number of a frame")
    return frame


def _between(first: Element, last: Element, share: float, frame: int) -> Element:
    """The shape at a share of the way from one frame to another; it stays in place until one that is outside."""
    moves = last.attributes.get("outside") != "1"
    attributes = {**first.attributes, "frame": str(frame)}
    if moves and first.tag == last.tag and first.tag in _NUMBERS:
        for name in _NUMBERS[first.tag]:
            if name in first.attributes or name in last.attributes:
                values = numbers_in(" ".join(one.attributes.get(name) or "0" for one in (first, last)))
                if values is None or len(values) != 2:
                    raise InputError(f"{name} in the lines {first.line} and {last.line} is no number")
                attributes[name] = repr(values[0] + share * (values[1] - values[0]))
    elif moves:
        if first.tag != "polygon" or last.tag != "polygon" or len(points_of(first)) != len(points_of(last)):
            raise InputError(
                f"its shapes in the lines {first.line} and {last.line} cannot be interpolated, a {first.tag} and a "
                f"{last.tag} that differ in their points; export it from CVAT, which writes each frame"
            )
        points = [a + share * (b - a) for a, b in zip(points_of(first), points_of(last), strict=True)]
        attributes["points"] = ";".join(f"{x!r},{y!r}" for x, y in zip(points[0::2], points[1::2], strict=True))
    return Element(first.tag, first.line, attributes)
