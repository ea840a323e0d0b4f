"""`Shapes`: a drawn data set of discs, boxes, triangles … in COCO's layout, for tests, examples and first trainings.

Each picture is a pure function of ``(seed, split, index)``: a gradient, striped or cloudy background, up to a few
shapes of any rotation drawn over each other with antialiased edges, blur, noise and JPEG compression. Boxes, areas and
masks are those of the *visible* part, as a person would annotate it; sometimes a swarm of tiny shapes is annotated
as one crowd region.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from detkit.categories import Category, to_coco
from detkit.errors import InputError

logger = logging.getLogger(__name__)

SHAPE_NAMES = ("disc", "box", "triangle", "ring", "star", "cross", "crescent")
KEYPOINT_NAMES = ("centre", "top", "right", "bottom", "left")
SKELETON = ((0, 1), (0, 2), (0, 3), (0, 4))
KEYPOINT_SIGMAS = (0.1,) * 5
COLORS = ((230, 60, 60), (60, 140, 230), (60, 180, 90), (240, 180, 40), (160, 90, 210), (90, 200, 200), (240, 130, 190))

_MARKER = "shapes.json"
_VERSION = 4  # raise it whenever the same parameters give other files
_FINENESS = 8  # shapes are drawn this much larger and averaged
_SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel


@dataclass(frozen=True)
class ShapesOptions:
    """What `draw_shapes` draws.

    Args:
        counts: how many pictures each split has.
        image_size: smallest and largest side of a picture in pixels; height and width are drawn independently.
        seed: the same seed gives the same bytes.
        names: the shapes to draw, which are the classes.
        max_objects: a picture holds 1 to this many shapes.
        min_object_size: diameter of the smallest shape in pixels; the largest is half the picture's shorter side.
        contrast: least distance of a shape's colour from the background's mean in RGB space (0 to 441), and twice the
            least distance from another shape's.
        noise: largest standard deviation of the Gaussian noise in grey levels; each picture draws its own.
        crowd_probability: how often a picture has a crowd region.
        png_fraction: the share of pictures stored as PNG; the others are JPEG.
    """

    counts: dict[str, int] = field(default_factory=lambda: {"train": 1000, "val": 200, "test": 200})
    image_size: tuple[int, int] = (128, 192)
    seed: int = 0
    names: tuple[str, ...] = SHAPE_NAMES
    max_objects: int = 8
    min_object_size: float = 8.0
    contrast: float = 70.0
    noise: float = 8.0
    crowd_probability: float = 0.1
    png_fraction: float = 0.1

    def __post_init__(self) -> None:
        low, high = self.image_size
        if not 16 <= low <= high:
            raise InputError(f"shapes.image_size must be (low, high) with 16 <= low <= high, got {self.image_size}")
        if not self.counts or min(self.counts.values()) < 1:
            raise InputError(f"shapes.counts must give each split at least one picture, got {self.counts}")
        if not self.names or not set(self.names) <= set(SHAPE_NAMES):
            raise InputError(f"shapes.names must be some of {', '.join(SHAPE_NAMES)}, got {self.names}")
        if self.max_objects < 1:
            raise InputError(f"shapes.max_objects must be at least 1, got {self.max_objects}")
        if not 4 <= self.min_object_size <= low / 2:
            raise InputError(
                f"shapes.min_object_size must lie between 4 and half the smallest image side ({low / 2:g}), "
                f"got {self.min_object_size}"
            )


def draw_shapes(root: str | Path, options: ShapesOptions | None = None) -> Path:
    """Draw the data set, or find it drawn.

    Writes ``root/images/{split}/*`` and ``root/annotations/instances_{split}.json``. The folder appears whole or not
    at all: it is drawn beside its place and renamed. A folder drawn with the same options is used again, one drawn
    with others is replaced.

    Returns:
        `root`.

    Raises:
        InputError: `root` exists and was not drawn by this function.
    """
    options = options or ShapesOptions()
    root = Path(root)
    if _is_drawn(root, options):
        return root
    if root.exists() and not (root / _MARKER).is_file() and any(root.iterdir()):
        raise InputError(f"{root}: this folder holds something else than drawn shapes; name another one")
    root.parent.mkdir(parents=True, exist_ok=True)
    logger.info("drawing %s into %s", options.counts, root)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for number, (split, count) in enumerate(sorted(options.counts.items())):
            _draw_split(work, split, number, count, options)
        (work / _MARKER).write_text(json.dumps(_description(options), indent=1))
        work.chmod(0o755)
        _move_into_place(work, root, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def folder_name(options: ShapesOptions) -> str:
    """A folder name that differs whenever the pictures do."""
    text = json.dumps(_description(options), sort_keys=True)
    return f"shapes-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _description(options: ShapesOptions) -> dict:
    return json.loads(json.dumps({"version": _VERSION, **asdict(options)}))


def _is_drawn(root: Path, options: ShapesOptions) -> bool:
    try:
        return json.loads((root / _MARKER).read_text()) == _description(options)
    except (OSError, json.JSONDecodeError):
        return False


def _move_into_place(work: Path, root: Path, options: ShapesOptions) -> None:
    if _is_drawn(root, options):
        return  # another process was faster: two ranks of one training draw the same pictures
    if root.exists():
        shutil.rmtree(root)
    try:
        os.rename(work, root)
    except OSError:
        if not _is_drawn(root, options):
            raise


def _draw_split(work: Path, split: str, number: int, count: int, options: ShapesOptions) -> None:
    folder = work / "images" / split
    folder.mkdir(parents=True)
    (work / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        random = np.random.default_rng([options.seed, number, index])
        picture, objects = draw_picture(random, options)
        name = f"{index:06d}.png" if random.random() < options.png_fraction else f"{index:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))] if name.endswith("jpg") else []
        _, data = cv2.imencode(name[-4:], cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
        (folder / name).write_bytes(data.tobytes())
        height, width = picture.shape[:2]
        images.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        for annotation in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
    categories = [
        {"supercategory": "shape", "isthing": 1, **to_coco(_category(label))}
        for label, shape in enumerate(SHAPE_NAMES)
        if shape in options.names
    ]
    content = {
        "info": {"description": f"Shapes, {split}, seed {options.seed}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (work / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _category(label: int) -> Category:
    return Category(
        label + 1,
        SHAPE_NAMES[label],
        color=COLORS[label],
        keypoints=KEYPOINT_NAMES,
        skeleton=SKELETON,
        sigmas=KEYPOINT_SIGMAS,
    )


def draw_picture(random: np.random.Generator, options: ShapesOptions) -> tuple[np.ndarray, list[dict]]:
    """One picture, uint8 RGB ``(H, W, 3)``, and its annotations in COCO's form without ids."""
    height, width = (int(side) for side in random.integers(options.image_size[0], options.image_size[1] + 1, 2))
    picture, base = _background(random, height, width)
    stack = _arrange(random, height, width, options)
    colours: list[np.ndarray] = []
    for shape in stack:
        colours.append(_contrasting_colour(random, base, colours, options.contrast))
        shade = 1 + random.uniform(-0.15, 0.15) * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        x, y, w, h = cv2.boundingRect((shape.alpha > 0).view(np.uint8))
        alpha = shape.alpha[y : y + h, x : x + w, None]
        covered = picture[y : y + h, x : x + w]
        covered += (colours[-1] * shade[:, x : x + w] - covered) * alpha
    if random.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 0.8))
    picture += random.standard_normal(picture.shape, dtype=np.float32) * random.uniform(0, options.noise)
    picture = np.clip(picture, 0, 255).round().astype(np.uint8)
    return picture, [_annotation(shape) for shape in stack]


@dataclass
class _Shape:
    """A shape on the canvas: coverage 0..1 ``(H, W)``, visible pixels, and its geometry in continuous pixels."""

    label: int
    alpha: np.ndarray
    solid: np.ndarray
    outline: np.ndarray | None
    keypoints: np.ndarray
    iscrowd: bool = False

    def __post_init__(self) -> None:
        self.visible = self.solid
        self.full = int(self.solid.sum())


def _arrange(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> list[_Shape]:
    """Shapes from back to front; one that would hide more than half of another is moved or given up."""
    stack: list[_Shape] = []
    for _ in range(int(random.integers(1, options.max_objects + 1))):
        for _ in range(8):
            shape = _random_shape(random, height, width, options)
            if _put_on_top(stack, shape):
                break
    if random.random() < options.crowd_probability:
        _put_on_top(stack, _swarm(random, height, width, options))
    return stack


def _put_on_top(stack: list[_Shape], shape: _Shape) -> bool:
    remains = [below.visible & ~shape.solid for below in stack]
    enough = (left.sum() >= max(0.5 * below.full, 12) for left, below in zip(remains, stack, strict=True))
    if shape.full < 12 or not all(enough):
        return False
    for below, left in zip(stack, remains, strict=True):
        below.visible = left
    stack.append(shape)
    return True


def _random_shape(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> _Shape:
    smallest = options.min_object_size
    largest = min(height, width) / 2
    radius = smallest * (largest / smallest) ** (random.random() ** 0.5) / 2
    centre = random.uniform(0, 1, 2) * (width, height)
    centre = np.clip(centre, 0.4 * radius, np.array([width, height]) - 0.4 * radius)
    label = _random_label(random, options)
    return _shape(random, label, centre, radius, height, width)


def _random_label(random: np.random.Generator, options: ShapesOptions) -> int:
    return SHAPE_NAMES.index(options.names[int(random.integers(len(options.names)))])


def _shape(
    random: np.random.Generator, label: int, centre: np.ndarray, radius: float, height: int, width: int
) -> _Shape:
    outline, hole = _outline(random, SHAPE_NAMES[label])
    angle = random.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = outline @ rotation * radius + centre
    alpha = _fill(outline, height, width)
    if hole is not None:
        alpha = alpha * (1 - _fill(hole @ rotation * radius + centre, height, width))
    return _Shape(
        label, alpha, alpha >= 0.5, outline if hole is None else None, _keypoints(outline, centre, height, width)
    )


def _outline(random: np.random.Generator, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The corners of a shape of radius one around the origin, and those of its hole."""
    circle = _polygon(48)
    if name == "disc":
        return circle, None
    if name == "ring":
        return circle, circle * random.uniform(0.45, 0.65)
    if name == "box":
        return _polygon(4, np.pi / 4) * (1, random.uniform(0.5, 1)), None
    if name == "triangle":
        return _polygon(3), None
    if name == "star":
        star = _polygon(10)
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


def _polygon(corners: int, phase: float = 0.0) -> np.ndarray:
    angles = np.arange(corners) * 2 * np.pi / corners + phase
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _fill(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Coverage ``(H, W)`` float32 in 0..1 of a polygon in continuous pixels.

    Drawn finer and averaged: OpenCV's own antialiasing adds half a pixel all around.
    """
    coverage = np.zeros((height, width), dtype=np.float32)
    x1, y1 = np.clip(np.floor(outline.min(axis=0)), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(outline.max(axis=0)), 0, (width, height)).astype(int).tolist()
    if x2 > x1 and y2 > y1:
        fine = np.zeros(((y2 - y1) * _FINENESS, (x2 - x1) * _FINENESS), dtype=np.uint8)
        points = (outline - (x1, y1)) * _FINENESS - 0.5  # OpenCV counts from pixel centres
        cv2.fillPoly(fine, [np.round(points * 2**_SHIFT).astype(np.int32)], 255, cv2.LINE_8, _SHIFT)
        part = cv2.resize(fine, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        coverage[y1:y2, x1:x2] = part.astype(np.float32) / 255
    return coverage


def _keypoints(outline: np.ndarray, centre: np.ndarray, height: int, width: int) -> np.ndarray:
    extremes = [outline[:, 1].argmin(), outline[:, 0].argmax(), outline[:, 1].argmax(), outline[:, 0].argmin()]
    points = np.concatenate([centre[None], outline[extremes]])
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    return np.concatenate([points, np.where(inside, 2.0, 0.0)[:, None]], axis=1) * inside[:, None]


def _swarm(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> _Shape:
    """Many tiny shapes of one kind, annotated as one crowd region."""
    label = _random_label(random, options)
    spread = min(height, width) * random.uniform(0.08, 0.15)
    centre = random.uniform(0.2, 0.8, 2) * (width, height)
    alpha = np.zeros((height, width), dtype=np.float32)
    for place in centre + random.uniform(-spread, spread, (int(random.integers(8, 16)), 2)):
        tiny = _shape(random, label, place, random.uniform(2.0, 3.5), height, width)
        alpha = np.maximum(alpha, tiny.alpha)
    return _Shape(label, alpha, alpha >= 0.5, None, np.zeros((len(KEYPOINT_NAMES), 3)), iscrowd=True)


def _background(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 picture ``(H, W, 3)`` and its mean colour."""
    base = random.uniform(40, 215, 3)
    kind = random.integers(3)
    if kind == 0:
        direction = random.normal(0, 1, 2)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        pattern = (x * direction[0] + y * direction[1]) / np.abs(direction).sum()
    elif kind == 1:
        angle, period = random.uniform(0, np.pi), random.uniform(6, 24)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        pattern = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
    else:
        pattern = _clouds(random, height, width)
    amplitude = random.uniform(5, 25) * random.uniform(0.5, 1, 3)
    picture = base + pattern[..., None] * amplitude
    return picture.astype(np.float32), base


def _clouds(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Value noise in [-1, 1]: random grids of growing fineness, enlarged and added."""
    noise = np.zeros((height, width), dtype=np.float32)
    for cells, weight in ((4, 0.55), (9, 0.3), (20, 0.15)):
        grid = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        noise += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return noise


def _contrasting_colour(
    random: np.random.Generator, base: np.ndarray, others: list[np.ndarray], contrast: float
) -> np.ndarray:
    """A colour far from the background's, and half as far from the other shapes'; the best of twenty otherwise."""
    candidates = random.uniform(0, 255, (20, 3))
    distances = np.linalg.norm(candidates - base, axis=1)
    for other in others:
        distances = np.minimum(distances, 2 * np.linalg.norm(candidates - other, axis=1))
    good = np.flatnonzero(distances >= contrast)
    return candidates[good[0] if len(good) else distances.argmax()].astype(np.float32)


def _annotation(shape: _Shape) -> dict:
    height, width = shape.solid.shape
    if _is_whole(shape):
        segmentation = [shape.outline.round(2).ravel().tolist()]
        mask = rle.decode(rle.frPyObjects(segmentation, height, width))[..., 0].astype(bool)
    else:
        mask = shape.visible
        encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
        segmentation = {"size": [height, width], "counts": encoded["counts"].decode()}
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    keypoints = _visibility(shape)
    return {
        "category_id": shape.label + 1,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(mask.sum()),
        "iscrowd": int(shape.iscrowd),
        "segmentation": segmentation,
        "keypoints": keypoints.round(2).ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _is_whole(shape: _Shape) -> bool:
    """Whether one polygon tells all of it: no hole, nothing hidden, nothing outside the picture."""
    if shape.outline is None or not np.array_equal(shape.visible, shape.solid):
        return False
    height, width = shape.solid.shape
    return bool((shape.outline >= 0).all() and (shape.outline <= (width, height)).all())


def _visibility(shape: _Shape) -> np.ndarray:
    """Keypoints with visibility 1 where another shape hides them, 0 where the shape has no such point."""
    keypoints = shape.keypoints.copy()
    for position, point in enumerate(keypoints):
        # An extreme corner is thinner than a pixel, so its surroundings decide; a centre is itself in or out.
        reach = 0 if position == 0 else 2
        x, y = (int(coordinate) for coordinate in point[:2])
        around = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if not shape.solid[around].any():
            point[:] = 0
        elif point[2] and not shape.visible[around].any():
            point[2] = 1
    return keypoints
