"""Images of every kind become 8-bit RGB, or are refused in one sentence that names the file."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from image_files import noise
from PIL import Image, features

from detkit.errors import InputError
from detkit.images import image_size, read_image
from detkit.images.decompression_bombs import is_decompression_bomb
from detkit.images.jpeg_segments import jpeg_segments

LEFT, RIGHT = (200, 30, 90), (10, 160, 220)


@pytest.fixture
def image() -> Image.Image:
    pixels = np.full((24, 40, 3), LEFT, np.uint8)
    pixels[:, 20:] = RIGHT
    return Image.fromarray(pixels)


def check_colors(path: Path, tolerance: int = 0) -> None:
    pixels = read_image(path)
    assert pixels.shape == (24, 40, 3)
    assert image_size(path) == (24, 40)
    assert np.abs(pixels[12, [2, -2]].astype(int) - [LEFT, RIGHT]).max() <= tolerance


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF"])
def test_palettes(image: Image.Image, tmp_path: Path, format: str):
    image.quantize(4).save(tmp_path / "x", format)
    check_colors(tmp_path / "x")


@pytest.mark.parametrize(("format", "tolerance"), [("JPEG", 6), ("TIFF", 0)])
def test_cmyk(image: Image.Image, tmp_path: Path, format: str, tolerance: int):
    image.convert("CMYK").save(tmp_path / "x", format, quality=95)
    check_colors(tmp_path / "x", tolerance)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("JPEG2000", {}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_alpha_is_dropped(image: Image.Image, tmp_path: Path, format: str, options: dict, alpha: int):
    image.putalpha(alpha)
    image.save(tmp_path / "x", format, **options)
    check_colors(tmp_path / "x", tolerance=2 if format == "AVIF" else 0)


@pytest.mark.parametrize(
    ("format", "options"),
    [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {}), ("MPO", {"quality": 95})],
)
def test_the_first_frame_of_several(image: Image.Image, tmp_path: Path, format: str, options: dict):
    other = Image.fromarray(255 - np.asarray(image))
    image.save(tmp_path / "x", format, save_all=True, append_images=[other], **options)
    check_colors(tmp_path / "x", tolerance=8)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray(image: Image.Image, tmp_path: Path, mode: str):
    image.convert(mode).save(tmp_path / "x.png")
    expected = np.asarray(image.convert(mode).convert("L"))
    assert np.array_equal(read_image(tmp_path / "x.png"), np.repeat(expected[..., None], 3, axis=2))


def test_numbers_that_are_no_colors_are_refused(tmp_path: Path):
    Image.fromarray(np.ones((4, 5), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match=r"x\.tif: .*not an image that OpenCV can decode"):
        read_image(tmp_path / "x.tif")


def test_what_no_decoder_knows_is_said(tmp_path: Path):
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"x\.heic: Pillow cannot decode this image .* save it as JPEG or PNG"):
            read(tmp_path / "x.heic")
    assert features.check("avif"), "the tests of AVIF need Pillow 11.3"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def patched(format: str, marker: bytes, offset: int, form: str, side: int) -> bytes:
    """A small image whose header states another size."""
    content = BytesIO()
    Image.fromarray(noise(8, 8)).save(content, format)
    data = bytearray(content.getvalue())
    struct.pack_into(form, data, data.index(marker) + offset, side, side)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png_bomb(100_000),
        png_bomb(30_000),
        patched("GIF", b"GIF8", 6, "<HH", 30_000),
        patched("JPEG", b"\xff\xc0", 5, ">HH", 30_000),
        patched("BMP", b"BM", 18, "<ii", 100_000),
        b"P6\n100000 100000\n255\n" + bytes(100),
        b"P6\n30000 30000\n255\n" + bytes(100),
    ],
    ids=["png 100000", "png 30000", "gif", "jpg", "bmp", "ppm 100000", "ppm 30000"],
)
def test_decompression_bombs_are_refused(tmp_path: Path, data: bytes):
    """Decoding them takes up to a minute and 8 GB."""
    (tmp_path / "bomb").write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"bomb: this (image|file) (has too many|is broken|is not an)"):
            read(tmp_path / "bomb")


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [("L", "JPEG", {}), ("L", "JPEG", {"quality": 1, "progressive": True}), ("L", "GIF", {}), ("1", "PNG", {})],
)
def test_a_blank_image_is_no_decompression_bomb(mode: str, format: str, options: dict):
    content = BytesIO()
    Image.new(mode, (9000, 9000)).save(content, format, **options)
    segments = list(jpeg_segments(content)) if format == "JPEG" else []
    assert not is_decompression_bomb(content.getvalue(), segments)
