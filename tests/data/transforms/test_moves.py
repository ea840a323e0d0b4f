"""Every augmentation and mixing gives, to the last bit, what it gave before fields were moved by their kinds.

``moves.json`` holds the outcomes of commit 0e2a452, made by running this file there: ``python test_moves.py OUT``.
OpenCV's versions differ in the last bit of resampled pixels, so in both a resampling in whole numbers takes the place
of `cv2.resize`; that OpenCV itself is called as before is compared with crop, resize, border and mirror in OpenCV.
"""

import hashlib
import json
import sys
from pathlib import Path
from unittest import mock

import albumentations
import cv2
import numpy as np
import pytest
import torch

from detkit.data import Augmentation, CopyPaste, Expand, MinIoUCrop, MixUp, Mosaic
from detkit.data.transforms.mixing import mix
from detkit.structures import Target

PAIRS = [(0, 1)]
AUGMENTATIONS = {
    "flips": Augmentation(0.5, 0.5),
    "crop": Augmentation(crop=1.0, crop_size=(0.2, 1.0)),
    "zoom": Augmentation(zoom=(0.3, 3.0)),
    "all": Augmentation(0.5, 0.5, crop=0.7, crop_size=(0.3, 1.0), zoom=(0.4, 2.0)),
    "ssd": Augmentation(transforms=[Expand(), MinIoUCrop()], min_visibility=0),
    "symmetries": Augmentation(crop=0.5, transforms=[albumentations.D4(p=1)]),
}
MIXING = {
    "mosaic": [Mosaic()],
    "large mosaic": [Mosaic(size=(96, 64), scale=(1, 3))],
    "mixup": [MixUp(1.0)],
    "copy-paste": [CopyPaste(1.0)],
    "all mixed": [CopyPaste(0.8), Mosaic(0.8), MixUp(0.8)],
}
FIELDS = ("labels", "keypoints", "iscrowd", "difficult")


def sample(number: int) -> tuple[np.ndarray, Target]:
    """Noise with ellipses, at random places in whole and broken pixels, their masks and two keypoints each."""
    random = np.random.default_rng(number)
    height, width = int(random.integers(40, 90)), int(random.integers(40, 90))
    image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width] + 0.5
    masks, points = [], []
    for _ in range(int(random.integers(1, 6))):
        center, radii = random.uniform(5, 35, 2), random.uniform(3, 20, 2)
        masks.append((((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2) < 1)
        points.append([[*center, 2], [*random.uniform(0, 40, 2), random.integers(3)]])
    masks = torch.from_numpy(np.stack(masks))
    boxes = torch.stack([_around(mask) for mask in masks]) + torch.from_numpy(random.choice([0, 0.3], 4)).float()
    boxes[:, 2:] = boxes[:, 2:].minimum(torch.tensor([width, height]))
    count = len(masks)
    return image, Target(
        boxes,
        torch.arange(count),
        masks,
        torch.tensor(np.array(points), dtype=torch.float32),
        torch.from_numpy(random.random(count) < 0.2),
        masks.sum((1, 2)).float(),
        torch.from_numpy(random.random(count) < 0.5),
        number,
    )


def _around(mask: torch.Tensor) -> torch.Tensor:
    y, x = torch.nonzero(mask, as_tuple=True)
    return torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()


SAMPLES = [sample(number) for number in range(12)]


def whole_number_resize(pixels: np.ndarray, sides: tuple[int, int], interpolation: int) -> np.ndarray:
    """`cv2.resize` of uint8 ``(H, W[, C])`` to (width, height), the same on every machine."""
    weights = _overlaps if interpolation == cv2.INTER_AREA else _between_neighbors
    along_x, along_y = weights(pixels.shape[1], sides[0]), weights(pixels.shape[0], sides[1])
    total = along_x[0].sum() * along_y[0].sum()
    channels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    sums = along_y @ channels @ along_x.T  # of whole numbers far below 2**53: exact
    resized = ((2 * sums + total) // (2 * total)).astype(np.uint8).transpose(1, 2, 0)
    return resized.reshape(*resized.shape[:2], *pixels.shape[2:])


def _between_neighbors(old: int, new: int) -> np.ndarray:
    """Bilinear weights ``(new, old)`` of pixels whose middles lie at halves."""
    weights = np.zeros((new, old))
    for index in range(new):
        before, share = divmod((2 * index + 1) * old - new, 2 * new)
        weights[index, max(before, 0)] += 2 * new - share
        weights[index, min(before + 1, old - 1)] += share
    return weights


def _overlaps(old: int, new: int) -> np.ndarray:
    """By how much ``(new, old)`` each new pixel covers each old one."""
    starts, others = np.arange(new)[:, None] * old, np.arange(old)[None] * new
    return (np.minimum(starts + old, others + new) - np.maximum(starts, others)).clip(0).astype(np.float64)


def outcome(name: str) -> dict:
    """What becomes of all samples, with three seeds each."""
    with mock.patch("cv2.resize", whole_number_resize):
        results = [
            AUGMENTATIONS[name](*SAMPLES[index], random, PAIRS)
            if name in AUGMENTATIONS
            else mix(MIXING[name], index, SAMPLES.__getitem__, len(SAMPLES), random)
            for index in range(len(SAMPLES))
            for random in (np.random.default_rng([seed, index]) for seed in range(3))
        ]
    targets = [target for _, target in results]
    return {
        "images": [_digest([image]) for image, _ in results],
        "boxes": [target.boxes.tolist() for target in targets],
        "areas": [target.area.tolist() for target in targets],
        "pixels of masks": [target.masks.sum((1, 2)).tolist() for target in targets],
        "masks": _digest([target.masks.numpy() for target in targets]),
        **{field: _digest([getattr(target, field).numpy() for target in targets]) for field in FIELDS},
    }


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", [*AUGMENTATIONS, *MIXING])
def test_outcomes_are_those_of_before(name: str):
    before = json.loads((Path(__file__).parent / "moves.json").read_text())[name]
    now = outcome(name)
    assert now.keys() == before.keys()
    for key, expected in before.items():
        assert now[key] == expected, key


@pytest.mark.parametrize("seed", range(40))
def test_pixels_are_those_of_opencv(seed: int):
    """A part of whole pixels is cut out, resized, put on a frame, and that is mirrored, in one placement."""
    from detkit.geometry import Placement  # which was not there when `moves.json` was made

    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (37, 52, 3)).astype(np.uint8)
    masks = random.random((3, 37, 52)) < 0.5
    size = height, width = int(random.integers(20, 90)), int(random.integers(20, 90))
    part, place = _rectangle(random, 52, 37), _rectangle(random, width, height)
    mirror_x, mirror_y = (bool(one) for one in random.random(2) < 0.5)
    placement = Placement.part((37, 52), part, place, size).then(Placement.mirror(size, mirror_x, mirror_y))
    assert np.array_equal(placement.image(image), _by_opencv(image, part, place, size, mirror_x, mirror_y))
    expected = [_by_opencv(mask * np.uint8(255), part, place, size, mirror_x, mirror_y, 0) >= 128 for mask in masks]
    assert np.array_equal(placement.masks(masks), expected)


def _rectangle(random: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    x1, x2 = np.sort(random.choice(width + 1, 2, replace=False)).tolist()
    y1, y2 = np.sort(random.choice(height + 1, 2, replace=False)).tolist()
    return x1, y1, x2, y2


def _by_opencv(pixels, part, place, size, mirror_x, mirror_y, border=(124, 116, 104)):
    x1, y1, x2, y2 = part
    left, top, right, bottom = place
    least = min((right - left) / (x2 - x1), (bottom - top) / (y2 - y1))
    interpolation = cv2.INTER_AREA if least < 0.5 else cv2.INTER_LINEAR
    pixels = cv2.resize(pixels[y1:y2, x1:x2], (right - left, bottom - top), interpolation=interpolation)
    margins = top, size[0] - bottom, left, size[1] - right
    pixels = cv2.copyMakeBorder(pixels, *margins, cv2.BORDER_CONSTANT, value=border)
    return pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        json.dumps({name: outcome(name) for name in [*AUGMENTATIONS, *MIXING]}, separators=(",", ":"))
    )
