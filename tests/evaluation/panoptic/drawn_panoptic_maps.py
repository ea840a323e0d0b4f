"""Random panoptic maps with crowds, void, single pixels, absent classes and empty images."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from detkit.structures import Target

INSTANCES = 65536


@dataclass
class PanopticMaps:
    """Images, each with its truth and an answer, int64 ``label * 65536 + instance``, -1 for void."""

    is_thing: np.ndarray
    pairs: list[tuple[np.ndarray, np.ndarray]]

    @property
    def annotations(self) -> dict:
        return {
            "images": [{"id": row} for row in range(len(self.pairs))],
            "categories": [
                {"id": 5 + 3 * label, "name": f"class {label}", "isthing": int(one)}
                for label, one in enumerate(self.is_thing)
            ],
            "annotations": [],
        }

    def targets(self) -> list[Target]:
        return [
            Target(panoptic_map=torch.from_numpy(truth).int(), image_id=row)
            for row, (truth, _) in enumerate(self.pairs)
        ]

    def answers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(panoptic_map=torch.from_numpy(answer).int()) for _, answer in self.pairs]


def draw_panoptic_maps(seed: int, images: int = 3) -> PanopticMaps:
    random = np.random.default_rng(seed)
    is_thing = random.random(int(random.choice([1, 2, 3, 6]))) < 0.6
    pairs = []
    for _ in range(images):
        height, width = random.integers(1, 30, 2)
        truth = _draw(random, height, width, is_thing, crowd_share=0.25)
        other = _draw(random, height, width, is_thing, crowd_share=0)
        answer = np.where(random.random((height, width)) < random.choice([0, 0.05, 0.4, 1]), other, truth)
        is_crowd = (answer >= 0) & (answer % INSTANCES == 0) & is_thing[np.maximum(answer, 0) // INSTANCES]
        pairs.append((truth, np.where(is_crowd, answer + 500, answer)))
    return PanopticMaps(is_thing, pairs)


def _draw(random, height, width, is_thing, crowd_share):
    cell, count = int(random.choice([1, 2, 5, 9])), int(random.integers(1, 8))
    grid = random.integers(0, count, (height // cell + 1, width // cell + 1))
    segments = np.kron(grid, np.ones((cell, cell), dtype=np.int64))[:height, :width]
    labels = random.integers(0, len(is_thing), count)
    instances = np.where(is_thing[labels] & (random.random(count) >= crowd_share), np.arange(1, count + 1), 0)
    drawn = (labels * INSTANCES + instances)[segments]
    drawn = np.where(random.random(drawn.shape) < random.choice([0, 0.1, 0.6], p=[0.5, 0.3, 0.2]), -1, drawn)
    return np.full_like(drawn, -1) if random.random() < 0.05 else drawn
