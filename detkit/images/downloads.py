"""Images on the web, by their http or https address."""

from __future__ import annotations

import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from detkit.errors import InputError

STALL_SECONDS = 10.0
"""The longest wait for the next bytes."""

MOST_SECONDS = 120.0
MOST_BYTES = 2**28

_CHUNK = 2**16


def is_url(text: Any) -> bool:
    """Whether `text` is an http or https address."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


def download(url: str) -> bytes:
    """The content of an http or https address.

    Raises:
        InputError: there is no answer within 10 seconds, it is an error, or it is larger than 256 MiB.
    """
    started, parts, size = time.monotonic(), [], 0
    try:
        with urlopen(Request(url, headers={"User-Agent": "detkit"}), timeout=STALL_SECONDS) as answer:
            expected = answer.headers.get("Content-Length")
            while chunk := answer.read(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > MOST_BYTES:
                    raise InputError(
                        f"{url}: this is larger than {MOST_BYTES >> 20} MiB; download it and give the file"
                    )
                if time.monotonic() - started > MOST_SECONDS:
                    raise InputError(f"{url}: the download takes longer than {MOST_SECONDS:g} s; give a local file")
    except HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} ({error.reason}); check the address") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            reason = f"nothing arrived for {STALL_SECONDS:g} s"
        raise InputError(f"{url}: the image cannot be downloaded ({str(reason) or type(error).__name__})") from error
    if expected is not None and expected.isdecimal() and size != int(expected):
        raise InputError(f"{url}: only {size} of {expected} bytes arrived; try again")
    return b"".join(parts)
