"""The suffixes of image and video files, for every listing of folders."""

from __future__ import annotations

import os

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),  # a camera's MPO begins with a JPEG, which is the image
        *(".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".avif"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image, in small or capital letters."""
    return _suffix(name) in IMAGE_SUFFIXES


def is_video(name: str) -> bool:
    """Whether a file has the suffix of a video, in small or capital letters."""
    return _suffix(name) in VIDEO_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
