import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from image_files import noise, write_image
from PIL import Image

from detkit.errors import InputError
from detkit.images import find_inputs, image_size, read_image, read_video, to_tensor

SUFFIXES = ["png", "bmp", "webp", "tif"]


def test_reads_rgb_without_loss(tmp_path: Path):
    image = noise(13, 17)
    assert np.array_equal(read_image(write_image(tmp_path / "x.png", image)), image)
    assert np.array_equal(read_image(str(tmp_path / "x.png")), image)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_formats(tmp_path: Path, suffix: str):
    image = read_image(write_image(tmp_path / f"x.{suffix}", noise(13, 17)))
    assert image.shape == (13, 17, 3)
    assert image.dtype == np.uint8


def test_gray_is_repeated(tmp_path: Path):
    gray = noise(9, 8)[..., 0]
    assert np.array_equal(read_image(write_image(tmp_path / "x.png", gray)), np.repeat(gray[..., None], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path):
    image = noise(9, 8)
    Image.fromarray(np.dstack([image, noise(9, 8, 1)[..., 0]])).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png"), image)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str, channels: int):
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    deep = deep if channels == 1 else np.repeat(deep[..., None], 3, axis=2)
    image = read_image(write_image(tmp_path / f"x.{suffix}", deep))
    expected = (deep if channels == 3 else np.repeat(deep[..., None], 3, axis=2)) / 257
    assert np.abs(image - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (200, 12_000), (1, 500)])
def test_extreme_sizes(tmp_path: Path, height: int, width: int):
    path = write_image(tmp_path / "x.jpg", noise(height, width))
    assert read_image(path).shape == (height, width, 3)
    assert image_size(path) == (height, width)


def test_unicode_path(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(cv2.imencode(".png", noise(4, 5))[1].tobytes())
    path = (tmp_path / "x.png").rename(tmp_path / "straße 図 ß.png")
    assert read_image(path).shape == (4, 5, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[:8, :8] = 255
    Image.fromarray(stored).save(tmp_path / "x.jpg", exif=exif, quality=100)
    turned = (30, 20) if orientation >= 5 else (20, 30)
    corners = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (1, 0)]
    assert image_size(tmp_path / "x.jpg") == turned
    seen = read_image(tmp_path / "x.jpg")
    assert seen.shape[:2] == turned
    row, column = corners[orientation]
    assert seen[-1 * row, -1 * column].min() > 200

    assert np.array_equal(read_image(tmp_path / "x.jpg", size=turned), seen)
    if orientation >= 5:
        as_stored = read_image(tmp_path / "x.jpg", size=(20, 30))
        assert as_stored[0, 0].min() > 200


def test_other_size_than_stated(tmp_path: Path):
    path = write_image(tmp_path / "x.png", noise(20, 30))
    with pytest.raises(InputError, match=r"x\.png.* 30x20 .*says 31x20"):
        read_image(path, size=(20, 31))
    with pytest.raises(InputError, match="says 20x30"):  # swapped, but the file has no orientation
        read_image(path, size=(30, 20))


def test_missing_empty_and_no_image(tmp_path: Path):
    with pytest.raises(InputError, match=r"none.jpg does not exist"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty.jpg.*0 bytes"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "text.png").write_text("not a picture")
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"text.png"):
            read(tmp_path / "text.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", *SUFFIXES])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.98])
def test_cut_short(tmp_path: Path, suffix: str, kept: float):
    whole = write_image(tmp_path / f"whole.{suffix}", noise(64, 64)).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(InputError, match="cut"):
        read_image(path)


def test_cut_short_behind_a_thumbnail(tmp_path: Path):
    thumbnail = cv2.imencode(".jpg", noise(16, 16))[1].tobytes()
    whole = cv2.imencode(".jpg", noise(64, 64))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    (tmp_path / "whole.jpg").write_bytes(with_thumbnail + b"trailing bytes")
    assert read_image(tmp_path / "whole.jpg").shape == (64, 64, 3)
    (tmp_path / "cut.jpg").write_bytes(with_thumbnail[:-500])
    with pytest.raises(InputError, match="cut short"):
        read_image(tmp_path / "cut.jpg")


def test_to_tensor():
    image = noise(5, 7)
    tensor = to_tensor(image)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert torch.equal(tensor, torch.from_numpy(image).permute(2, 0, 1))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for number in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 40 * number), np.uint8))  # ever redder
    writer.release()
    return path


def test_video_frames_in_order(video: Path):
    frames = list(read_video(video))
    assert len(frames) == 5
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    reds = [frame[..., 0].mean() for frame in frames]
    assert reds == sorted(reds)
    assert reds[-1] > 100 > 60 > frames[-1][..., 2].mean()


def test_bad_videos(tmp_path: Path):
    with pytest.raises(InputError, match="no such video"):
        next(read_video(tmp_path / "none.mp4"))
    (tmp_path / "x.mp4").write_text("no video")
    with pytest.raises(InputError, match="no video frame"):
        next(read_video(tmp_path / "x.mp4"))


def test_find_inputs(tmp_path: Path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "clip.mp4", "deep/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.name for path in find_inputs(tmp_path)]
    assert names == ["a.PNG", "b.jpg", "clip.mp4"]
    assert [path.name for path in find_inputs(str(tmp_path / "**" / "*.jpg"))] == ["b.jpg", "c.jpg"]
    both = find_inputs([tmp_path / "b.jpg", tmp_path])
    assert [path.name for path in both] == ["b.jpg", "a.PNG", "clip.mp4"]


@pytest.mark.parametrize("name", ["none.jpg", "*.tiff", "empty", "nofolder/"])
def test_find_inputs_names_what_matches_nothing(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name.strip("/").replace("*", r"\*")):
        find_inputs(str(tmp_path / name))
    with pytest.raises(InputError, match="no input"):
        find_inputs([])


@pytest.mark.skipif(sys.platform == "win32", reason="brackets")
def test_file_whose_name_looks_like_a_pattern(tmp_path: Path):
    (tmp_path / "a[1].jpg").touch()
    assert find_inputs(tmp_path / "a[1].jpg") == [tmp_path / "a[1].jpg"]
