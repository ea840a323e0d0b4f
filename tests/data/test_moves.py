"""Every augmentation and mixing gives what it gave before fields were moved by their kinds and `Placement`.

``moves.json`` holds the outcomes of commit 0e2a452, made by running this file there: ``python test_moves.py OUT``.
Pixels that are resampled are compared by their sums, since OpenCV's versions differ in the last bit; all else exactly.
"""

import hashlib
import json
import sys
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch

from detkit.data import Augmentation, CopyPaste, Expand, MinIoUCrop, MixUp, Mosaic
from detkit.data.mixing import mixed
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
UNSCALED = {"flips", "crop", "ssd", "symmetries", "mixup"}
FIELDS = ("boxes", "labels", "keypoints", "iscrowd", "area", "difficult")


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


def outcome(name: str) -> dict:
    """What becomes of all samples, with three seeds each."""
    results = [
        AUGMENTATIONS[name](*SAMPLES[index], random, PAIRS)
        if name in AUGMENTATIONS
        else mixed(MIXING[name], index, SAMPLES.__getitem__, len(SAMPLES), random)
        for index in range(len(SAMPLES))
        for random in (np.random.default_rng([seed, index]) for seed in range(3))
    ]
    pixels = {"image": [image for image, _ in results], "masks": [target.masks.numpy() for _, target in results]}
    values = {field: [getattr(target, field).numpy() for _, target in results] for field in FIELDS}
    return {
        "exact": {
            key: _digest(arrays)
            for key, arrays in (values | (pixels if name in UNSCALED else {})).items()
            if key != "boxes" or name in UNSCALED  # with scaled masks, boxes are those of resampled pixels
        },
        "sums": {key: [int(array.sum()) for array in arrays] for key, arrays in pixels.items()},
        "boxes": [] if name in UNSCALED else [array.round(1).tolist() for array in values["boxes"]],
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
    assert now["exact"] == before["exact"]
    for key, sums in before["sums"].items():
        assert now["sums"][key] == pytest.approx(sums, rel=0.002, abs=3)
    for boxes, expected in zip(now["boxes"], before["boxes"], strict=True):
        assert np.allclose(np.reshape(boxes, (-1, 4)), np.reshape(expected, (-1, 4)), atol=1.01)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(
        json.dumps({name: outcome(name) for name in [*AUGMENTATIONS, *MIXING]}, separators=(",", ":"))
    )
