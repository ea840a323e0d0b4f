"""Image and video files: which they are, and their pixels, always as uint8 RGB ``(H, W, 3)``."""

from detkit.images.inputs import find_inputs
from detkit.images.reading import image_size, read_image, to_tensor
from detkit.images.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, is_video
from detkit.images.videos import read_video

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "find_inputs",
    "image_size",
    "is_image",
    "is_video",
    "read_image",
    "read_video",
    "to_tensor",
]
