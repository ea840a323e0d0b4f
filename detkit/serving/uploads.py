"""The images of a request, read while they arrive and refused as soon as they are too many or too large."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as FormError
from starlette.types import Message

from detkit.serving.limits import Limits

FIELD = "images"
"""The form field of the images."""

PATIENCE = 60.0
"""Seconds in which a request must have arrived."""


@dataclass(frozen=True, eq=False)
class Upload:
    """An image file of a request.

    Args:
        name: what the client calls it; never used as a path.
        data: the content.
    """

    name: str
    data: bytes


async def read_uploads(request: Request, limits: Limits) -> list[Upload]:
    """The images of a multipart request.

    Raises:
        HTTPException: 400 if it is no such form, 408 if it takes too long, 413 if it is larger than `limits`, 415 for
            another type of content, 422 without images.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, f"Send a form of type multipart/form-data with the image files as {FIELD}.")
    try:
        async with asyncio.timeout(PATIENCE):
            return await _uploads(_Limited(request, limits.max_megabytes), limits)
    except TimeoutError:
        raise HTTPException(408, f"The request has not arrived within {PATIENCE:g} s.") from None


class _Limited(Request):
    """A request whose body is refused once it is larger than it may be, whatever its header states."""

    def __init__(self, request: Request, max_megabytes: int) -> None:
        super().__init__(request.scope, request.receive)
        self._most, self._max_megabytes = max_megabytes * 10**6, max_megabytes
        self._unlimited, self._arrived = request.receive, 0
        self._receive = self._receive_limited
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self._most:
            raise self._refusal()

    async def _receive_limited(self) -> Message:
        message = await self._unlimited()
        self._arrived += len(message.get("body", b""))
        if self._arrived > self._most:
            raise self._refusal()
        return message

    def _refusal(self) -> HTTPException:
        return HTTPException(
            413,
            f"The request is larger than {self._max_megabytes} MB: send fewer or smaller images.",
            {"Connection": "close"},
        )


async def _uploads(request: _Limited, limits: Limits) -> list[Upload]:
    try:
        # A file more than are allowed ends the reading.
        form = await request.form(max_files=limits.max_images, max_fields=1)
    except FormError as error:
        if "too many files" in str(error.detail).lower():
            message = f"The request has more than {limits.max_images} images: send several requests."
            raise HTTPException(413, message) from error
        raise
    parts = form.multi_items()
    files = [part for name, part in parts if name == FIELD and isinstance(part, UploadFile)]
    uploads = [Upload(file.filename or "image", await file.read()) for file in files]
    await form.close()
    if not uploads or len(uploads) != len(parts):
        raise HTTPException(422, f"Send each image as a file of the form field {FIELD}, and nothing else.")
    return uploads
