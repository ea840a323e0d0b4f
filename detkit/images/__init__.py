"""Image and video files: which they are, and their pixels, always as uint8 RGB ``(H, W, 3)``."""

from detkit.images.downloads import download, is_url
from detkit.images.inputs import find_inputs, find_sources, read_source
from detkit.images.map_files import read_map
from detkit.images.pillow_images import from_pillow, is_pillow_image
from detkit.images.reading import decode_image, encoded_size, image_size, read_image, to_tensor
from detkit.images.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, is_video
from detkit.images.videos import is_stream, read_stream, read_video

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "decode_image",
    "download",
    "encoded_size",
    "find_inputs",
    "find_sources",
    "from_pillow",
    "image_size",
    "is_image",
    "is_pillow_image",
    "is_stream",
    "is_url",
    "is_video",
    "read_image",
    "read_map",
    "read_source",
    "read_stream",
    "read_video",
    "to_tensor",
]
