"""The `data:` section of a config: which images, how they are varied, how they are batched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import cv2
import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detkit.data.annotations import OnBad
from detkit.data.coco import CocoDataset, find_split
from detkit.data.samplers import EvaluationSampler, TrainingBatchSampler
from detkit.data.shapes import ShapesOptions, draw_shapes
from detkit.errors import InputError
from detkit.structures import Category, Target

Sample = tuple[Tensor, Target]
Batch = tuple[list[Tensor], list[Target]]


class DataModule(lightning.LightningDataModule):
    """thin"""

    def __init__(
        self,
        root: Path | None = None,
        shapes: ShapesOptions = ShapesOptions(),
        train_images: Path | None = None,
        train_annotations: Path | None = None,
        val_images: Path | None = None,
        val_annotations: Path | None = None,
        test_images: Path | None = None,
        test_annotations: Path | None = None,
        eval_split: Literal["val", "test"] = "val",
        batch_size: int = 2,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        aspect_ratio_grouping: bool = True,
        with_masks: bool = False,
        with_keypoints: bool = False,
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root = root
        self.shapes = shapes
        self.explicit = {
            "train": (train_images, train_annotations),
            "val": (val_images, val_annotations),
            "test": (test_images, test_annotations),
        }
        self.eval_split = eval_split
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.num_workers = num_workers
        self.aspect_ratio_grouping = aspect_ratio_grouping
        self.with_masks = with_masks
        self.with_keypoints = with_keypoints
        self.on_bad_image = on_bad_image
        self.on_bad_box = on_bad_box
        self.seed = seed
        self._datasets: dict[str, CocoDataset] = {}

    @property
    def categories(self) -> list[Category]:
        return self.dataset("train").categories

    @property
    def num_classes(self) -> int:
        return len(self.categories)

    @property
    def train_dataset(self) -> CocoDataset:
        return self.dataset("train")

    @property
    def eval_dataset(self) -> CocoDataset:
        return self.dataset(self.eval_split)

    def dataset(self, split: str) -> CocoDataset:
        if split not in self._datasets:
            images, annotations = self._paths(split)
            self._datasets[split] = CocoDataset(
                images, annotations, self.with_masks, self.with_keypoints, self.on_bad_image, self.on_bad_box
            )
        return self._datasets[split]

    def _paths(self, split: str) -> tuple[Path, Path]:
        images, annotations = self.explicit[split]
        if images and annotations:
            return images, annotations
        root = self.root
        if root is None:
            key = hashlib.sha256(json.dumps(asdict(self.shapes)).encode()).hexdigest()[:12]
            root = draw_shapes(Path("runs/data") / f"shapes-{key}", self.shapes)
        found_images, found_annotations = find_split(root, split)
        return images or found_images, annotations or found_annotations

    def train_dataloader(self) -> DataLoader:
        dataset = self.dataset("train")
        sampler = TrainingBatchSampler(dataset.image_sizes, self.batch_size, self.seed, self.aspect_ratio_grouping)
        return DataLoader(TrainingSet(dataset), batch_sampler=sampler, **self._options())

    def val_dataloader(self) -> DataLoader:
        dataset = self.eval_dataset
        return DataLoader(
            dataset, batch_size=self.eval_batch_size, sampler=EvaluationSampler(len(dataset)), **self._options()
        )

    test_dataloader = val_dataloader

    def _options(self) -> dict:
        return {
            "num_workers": self.num_workers,
            "collate_fn": collate,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }


class TrainingSet(Dataset):
    """thin"""

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, _ = key
        return self.dataset[index]


def collate(samples: list[Sample]) -> Batch:
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
