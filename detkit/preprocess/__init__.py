"""Preprocessing: turns images of any size into a network's input batch, and moves detections back."""

from detkit.preprocess.batch import Batch
from detkit.preprocess.center_crop import CenterCrop
from detkit.preprocess.letterbox import Letterbox, Stretch
from detkit.preprocess.mirrored_borders import MirroredBorders
from detkit.preprocess.original_size import OriginalSize
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, takes_batches
from detkit.preprocess.shortest_edge import ShortestEdge, SmoothShortestEdge
from detkit.preprocess.square import Square

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Batch",
    "CenterCrop",
    "Letterbox",
    "MirroredBorders",
    "OriginalSize",
    "Preprocess",
    "ShortestEdge",
    "SmoothShortestEdge",
    "Square",
    "Stretch",
    "takes_batches",
]
