"""Random label maps with absent classes, void pixels and answers of their own label order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detkit.structures import Category, SemanticMap, Target


@dataclass
class Maps:
    """Images, each with its truth and an answer, in labels of the data: int64, -1 where there is none."""

    classes: int
    pairs: list[tuple[np.ndarray, np.ndarray]]

    @property
    def annotations(self) -> dict:
        return {
            "images": [{"id": 10 * row, "file_name": f"{row}.png"} for row in range(len(self.pairs))],
            "categories": [{"id": 7 + 2 * label, "name": f"class {label}"} for label in range(self.classes)],
            "annotations": [],
        }

    @property
    def categories(self) -> list[Category]:
        return [Category(entry["id"], entry["name"]) for entry in self.annotations["categories"]]

    def targets(self, dtype: torch.dtype = torch.uint8) -> list[Target]:
        return [
            Target(label_map=as_labels(truth, dtype), image_id=10 * row) for row, (truth, _) in enumerate(self.pairs)
        ]

    def answers(self, dtype: torch.dtype = torch.uint8) -> list[SemanticMap]:
        return [SemanticMap(as_labels(answer, dtype)) for _, answer in self.pairs]


def as_labels(labels: np.ndarray, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    void = 255 if dtype == torch.uint8 else -1
    return torch.from_numpy(np.where(labels < 0, void, labels)).to(dtype)


def draw_maps(seed: int, images: int = 4) -> Maps:
    """Blocks of classes, of which some are absent, with noise and void pixels in both maps."""
    random = np.random.default_rng(seed)
    classes = int(random.choice([1, 2, 3, 6, 21]))
    present = np.flatnonzero(random.random(classes) < 0.7)
    present = np.arange(classes) if len(present) == 0 else present
    answered = np.arange(classes) if random.random() < 0.5 else present
    pairs = []
    for _ in range(images):
        height, width = random.integers(1, 40, 2)
        cell = int(random.choice([1, 4, 11]))

        def blocks(of):
            grid = random.choice(of, (height // cell + 1, width // cell + 1))  # noqa: B023 (called at once)
            return np.kron(grid, np.ones((cell, cell), dtype=np.int64))[:height, :width]  # noqa: B023

        truth = blocks(present)
        answer = np.where(random.random(truth.shape) < random.random(), truth, blocks(answered))
        truth = np.where(random.random(truth.shape) < random.choice([0, 0.2, 1], p=[0.4, 0.5, 0.1]), -1, truth)
        answer = np.where(random.random(truth.shape) < random.choice([0, 0.1]), -1, answer)
        pairs.append((truth, answer))
    return Maps(classes, pairs)
