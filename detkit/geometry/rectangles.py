"""Single rectangles ``x1 y1 x2 y2`` and affine matrices in plain Python: for a few numbers numpy is slower."""

from __future__ import annotations

Size = tuple[int, int]
Rectangle = tuple[float, float, float, float]
WholeRectangle = tuple[int, int, int, int]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]


def move_rectangle(matrix: Matrix, box: Rectangle) -> Rectangle:
    """The smallest box around `box` as moved by `matrix`."""
    (a, b, c), (d, e, f) = matrix
    x1, y1, x2, y2 = box
    if b == 0 and d == 0:
        xs, ys = [a * x1 + c, a * x2 + c], [e * y1 + f, e * y2 + f]
    else:
        corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        xs, ys = [a * x + b * y + c for x, y in corners], [d * x + e * y + f for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def are_near(one: Rectangle, other: Rectangle) -> bool:
    """Whether all edges agree to a millionth of a pixel."""
    (a, b, c, d), (x1, y1, x2, y2) = one, other
    return abs(a - x1) < 1e-6 and abs(b - y1) < 1e-6 and abs(c - x2) < 1e-6 and abs(d - y2) < 1e-6


def product(second: Matrix, first: Matrix) -> Matrix:
    """The matrix of applying `first`, then `second`."""
    (a, b, c), (d, e, f) = first
    rows = [(p * a + q * d, p * b + q * e, p * c + q * f + r) for p, q, r in second]
    return rows[0], rows[1]


def clip_rectangle(box: Rectangle, size: Size) -> Rectangle:
    """`box` clipped to a frame of `size` (height, width)."""
    (x1, y1, x2, y2), (height, width) = box, (float(size[0]), float(size[1]))
    return min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height)


def whole_frame(size: Size) -> Rectangle:
    """The rectangle of a frame of `size` (height, width)."""
    return 0.0, 0.0, float(size[1]), float(size[0])


def whole(rectangle: tuple[float, float, float, float]) -> WholeRectangle | None:
    """The rectangle in whole pixels; None if an edge is not on one, or it is empty."""
    x1, y1, x2, y2 = rectangle
    near = round(x1), round(y1), round(x2), round(y2)
    far = max(abs(x1 - near[0]), abs(y1 - near[1]), abs(x2 - near[2]), abs(y2 - near[3]))
    return near if far <= 1e-6 and near[0] < near[2] and near[1] < near[3] else None
