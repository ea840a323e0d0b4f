"""Old names of `detkit.preprocess`, for one release."""

from detkit.deprecation import moved_names

PREPROCESS_NAMES = (
    "CenterCrop",
    "Letterbox",
    "OriginalSize",
    "ShortestEdge",
    "SmoothShortestEdge",
    "Square",
    "Stretch",
)

__getattr__ = moved_names(
    __name__,
    {name: f"detkit.preprocess.{name}" for name in (*PREPROCESS_NAMES, "Batch", "IMAGENET_MEAN", "IMAGENET_STD")}
    | {"corner_resize": "detkit.preprocess.letterbox.corner_resize", "Size": "detkit.geometry.Size"},
)
