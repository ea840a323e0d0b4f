"""How much a server takes, of one request and of all that wait."""

from __future__ import annotations

from dataclasses import dataclass, fields

from detkit.errors import InputError


@dataclass(frozen=True)
class Limits:
    """What an `application` refuses, before it fills memory.

    The uploads in memory are at most ``max_waiting`` times ``max_megabytes``, the pixels those of one batch.

    Args:
        max_images: images of one request.
        max_megabytes: size of a request's body, in millions of bytes.
        max_pixels: pixels of one image, its width times its height.
        max_waiting: requests that are read or wait for their answers; further ones are told to come back later.
        batch_size: images of one forward pass, perhaps of several requests.

    Raises:
        InputError: one of them is below 1.
    """

    max_images: int = 16
    max_megabytes: int = 64
    max_pixels: int = 50_000_000
    max_waiting: int = 32
    batch_size: int = 8

    def __post_init__(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) < 1:
                raise InputError(f"{one.name} must be at least 1, got {getattr(self, one.name)}")
