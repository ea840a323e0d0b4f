"""Nearly equal images are found, whatever was done to the copy; different ones are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.fft

from detkit.data.shapes.options import ShapesOptions
from detkit.data.shapes.scene import draw_image
from detkit.trust.inspection.image_scan import thumbnail
from detkit.trust.inspection.near_duplicates import near_duplicates, perceptual_hashes, similar_hashes


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    return [draw_image(np.random.default_rng([3, k]), ShapesOptions())[0] for k in range(80)]


def compressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


COPIES = {
    "compressed": compressed,
    "half as large": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "gray": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "an edge cut off": lambda image: np.ascontiguousarray(image[2:, 1:]),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(scenes, copy):
    images = [*scenes, *map(COPIES[copy], scenes[:20])]
    found = near_duplicates(np.stack([thumbnail(image) for image in images]))
    expected = {(k, k + len(scenes)) for k in range(20)}
    assert set(map(tuple, found.tolist())) <= expected
    assert len(found) >= 18


def test_different_images_are_none(scenes):
    assert not len(near_duplicates(np.stack([thumbnail(image) for image in scenes])))


def test_flat_images_are_left_to_other_checks():
    assert not len(near_duplicates(np.full((3, 32, 32), 90, np.uint8)))


def test_no_images():
    assert near_duplicates(np.zeros((0, 32, 32), np.uint8)).shape == (0, 2)


def test_hashes_are_signs_of_the_lowest_frequencies(scenes):
    """As of scipy's cosine transform, whose coefficients are multiples of ours."""
    thumbnails = np.stack([thumbnail(image) for image in scenes])
    low = scipy.fft.dctn(thumbnails.astype(np.float64), axes=(1, 2))[:, :8, :8].reshape(len(scenes), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    expected = [int("".join("01"[bit] for bit in row), 2) for row in bits.astype(int).tolist()]
    assert perceptual_hashes(thumbnails).tolist() == expected


@pytest.mark.parametrize("chunk", [4, 4096])
def test_similar_hashes_are_those_of_all_pairs(chunk, monkeypatch):
    monkeypatch.setattr("detkit.trust.inspection.near_duplicates._CHUNK", chunk)
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 60, dtype=np.uint64)
    flipped = [int(one) ^ sum(1 << int(bit) for bit in random.choice(64, k, replace=False))
               for k in range(12) for one in hashes[:10]]  # fmt: skip
    joined = np.concatenate([hashes, np.array(flipped, dtype=np.uint64)])
    found = {tuple(pair) for pairs in similar_hashes(joined) for pair in pairs.tolist()}
    bits = [[(int(one) ^ int(other)).bit_count() for other in joined] for one in joined]
    assert found == {(a, b) for a in range(len(joined)) for b in range(a + 1, len(joined)) if bits[a][b] <= 7}
