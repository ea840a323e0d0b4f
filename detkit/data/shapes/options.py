"""The shapes of the `Shapes` data set (names, colors, keypoints), and its options."""

from __future__ import annotations

from dataclasses import dataclass, field

from detkit.errors import InputError

SHAPE_NAMES = ("disc", "box", "triangle", "ring", "star", "cross", "crescent")
KEYPOINT_NAMES = ("centre", "top", "right", "bottom", "left")
SKELETON = ((0, 1), (0, 2), (0, 3), (0, 4))
KEYPOINT_SIGMAS = (0.1,) * 5
COLORS = ((230, 60, 60), (60, 140, 230), (60, 180, 90), (240, 180, 40), (160, 90, 210), (90, 200, 200), (240, 130, 190))

MOST_STUFF = 100


@dataclass(frozen=True)
class ShapesOptions:
    """The options of `draw_shapes`.

    Args:
        counts: the number of images in each split.
        image_size: smallest and largest side of an image in pixels; height and width are drawn independently.
        seed: the same seed gives the same bytes.
        names: the shapes to draw, which are the classes.
        max_objects: an image holds 1 to this many shapes.
        min_object_size: diameter of the smallest shape in pixels; the largest is half the image's shorter side.
        contrast: least distance of a shape's color from the background's mean in RGB space (0 to 441), and twice the
            least distance from another shape's.
        noise: largest standard deviation of the Gaussian noise in gray levels; each image draws its own.
        crowd_probability: how often an image has a crowd region.
        png_fraction: the share of images stored as PNG; the others are JPEG.
        stuff: names of the classes of the background, in addition to the shapes. One is all of the background; several
            are regions of it, each with a texture of its own. With any, a label map and a panoptic map of each image
            are written, and masks are exactly the pixels in these.
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
    stuff: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.image_size
        if not 16 <= low <= high:
            raise InputError(f"shapes.image_size must be (low, high) with 16 <= low <= high, got {self.image_size}")
        if not self.counts or min(self.counts.values()) < 1:
            raise InputError(f"shapes.counts must give each split at least one image, got {self.counts}")
        if not self.names or not set(self.names) <= set(SHAPE_NAMES):
            raise InputError(f"shapes.names must be some of {', '.join(SHAPE_NAMES)}, got {self.names}")
        if self.max_objects < 1:
            raise InputError(f"shapes.max_objects must be at least 1, got {self.max_objects}")
        if not 4 <= self.min_object_size <= low / 2:
            raise InputError(
                f"shapes.min_object_size must lie between 4 and half the smallest image side ({low / 2:g}), "
                f"got {self.min_object_size}"
            )
        distinct = {name for name in self.stuff if name.strip()} - set(SHAPE_NAMES)
        if len(distinct) != len(self.stuff) or len(self.stuff) > MOST_STUFF:
            raise InputError(
                f"shapes.stuff must be up to {MOST_STUFF} different names that are no shapes, got {self.stuff}"
            )
