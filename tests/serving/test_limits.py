"""What is too much is refused with its reason, before it takes memory."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterator

import pytest
from serving_cases import client_of, encoded, form

from detkit.errors import InputError
from detkit.serving import Limits, uploads

BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}
HEAD = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'


def refusal(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


@pytest.mark.parametrize("name", ["max_images", "max_megabytes", "max_pixels", "max_waiting", "batch_size"])
def test_each_is_at_least_one(name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        Limits(**{name: 0})


def test_the_number_of_images():
    client = client_of(max_images=2)
    assert client.post("/predict", files=form(encoded(), encoded())).status_code == 200
    status, sentence = refusal(client.post("/predict", files=form(encoded(), encoded(), encoded())))
    assert (status, sentence) == (413, "The request has more than 2 images: send several requests.")


class TestTheSizeOfARequest:
    """A megabyte is the limit."""

    def test_by_its_header(self):
        client = client_of(max_megabytes=1)
        assert refusal(client.post("/predict", files=form(bytes(2 * 10**6)))) == (
            413, "The request is larger than 1 MB: send fewer or smaller images.",
        )  # fmt: skip

    @pytest.mark.parametrize("header", [{}, {"Content-Length": "10"}, {"Content-Length": "many"}])
    def test_as_it_arrives_whatever_its_header_states(self, header, monkeypatch):
        taken = 0

        async def counted(one, unlimited=uploads._Limited._receive_limited):
            nonlocal taken
            message = await unlimited(one)
            taken += len(message.get("body", b""))
            return message

        monkeypatch.setattr(uploads._Limited, "_receive_limited", counted)
        answer = client_of(max_megabytes=1).post("/predict", content=_endless(), headers=BOUNDARY | header)
        assert answer.status_code == 413
        assert taken <= 10**6

    def test_a_request_below_it_passes(self):
        padded = encoded() + bytes(900_000)  # what follows the end of a PNG is no part of it
        assert client_of(max_megabytes=1).post("/predict", files=form(padded)).status_code == 200


def _endless() -> Iterator[bytes]:
    """A form of 40 MB in parts, of which no more than one must be asked for after the limit."""
    yield HEAD
    for _ in range(400):
        yield bytes(100_000)


class TestThePixelsOfAnImage:
    def test_are_counted_before_it_is_decoded(self, monkeypatch):
        monkeypatch.setattr("detkit.serving.batching.decode_image", lambda *_: pytest.fail("it is decoded"))
        assert refusal(client_of().post("/predict", files=form(_bomb(60_000, 60_000)))) == (
            422, "0.png: this image has too many pixels to be decoded; cut it into tiles",
        )  # fmt: skip
        status, sentence = refusal(client_of().post("/predict", files=form(_bomb(8_000, 9_000))))
        assert status == 422
        assert sentence == ("0.png: its 8000x9000 pixels are more than the 50000000 that are accepted; scale it down")

    def test_up_to_the_limit_are_accepted(self):
        client = client_of(max_pixels=60 * 80)
        assert client.post("/predict", files=form(encoded())).status_code == 200
        assert client.post("/predict", files=form(encoded(size=(60, 81)))).status_code == 422


def _bomb(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel whose content is missing."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(own)) + kind + own + struct.pack(">I", zlib.crc32(kind + own)) for kind, own in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_request_that_does_not_arrive_is_ended(monkeypatch):
    async def never(_):
        await asyncio.sleep(60)

    monkeypatch.setattr(uploads, "PATIENCE", 0.01)
    monkeypatch.setattr(uploads._Limited, "_receive_limited", never)
    assert refusal(client_of().post("/predict", content=HEAD, headers=BOUNDARY)) == (
        408, "The request has not arrived within 0.01 s.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b"x"}, 415, "multipart/form-data"),
        ({"json": {"images": []}}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"files": [("image", ("a.png", b"x"))]}, 422, "images"),
        ({"files": [("images", ("a.png", encoded())), ("other", ("b.png", b"x"))]}, 422, "nothing else"),
        ({"files": form(b"")}, 422, "0.png"),
        ({"files": form(b"x")}, 422, "0.png: this file is not an image"),
        ({"files": form(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")}, 422, "not an image"),
        ({"files": form(encoded()[:60])}, 422, "cut short"),
        ({"files": form(encoded()), "params": {"score": "2"}}, 422, "score: "),
        ({"files": form(encoded()), "params": {"score": "nan"}}, 422, "score: "),
        ({"files": form(encoded()), "params": {"image": "perhaps"}}, 422, "image: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(request_, status, words):
    answer = client_of().post("/predict", **request_)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
