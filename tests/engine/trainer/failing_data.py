"""Data sets of someone else's package, each wrong in its way."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import torch

from detkit.data import ImageDataset
from detkit.structures import Category, Target

BAD = 3
MAIN_PROCESS = os.getpid()


class Failing(ImageDataset):
    """Eight images, one of which fails in the way that `how` names."""

    def __init__(self, split: str, how: str = "") -> None:
        self.how = how if split == "train" else ""

    @property
    def categories(self):
        return [Category(1, "disc"), Category(2, "box")]

    @property
    def image_ids(self):
        return [f"image{index}" for index in range(8)]

    @property
    def image_sizes(self):
        return np.full((8, 2), 32)

    def read(self, index):
        image = np.zeros((32, 32, 3), dtype=np.uint8)
        boxes, labels = torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([0])
        if index == BAD:
            image, boxes, labels = self.broken(image, boxes, labels)
        return image, Target(boxes, labels, image_id=self.image_ids[index])

    def broken(self, image, boxes, labels):
        match self.how:
            case "KeyError":
                raise KeyError("no such entry")
            case "OSError":
                raise OSError(5, "Input/output error")
            case "MemoryError":
                raise MemoryError
            case "float image":
                return image.astype(np.float32), boxes, labels
            case "gray image":
                return image[..., 0], boxes, labels
            case "double boxes":
                return image, boxes.double(), labels
            case "int labels":
                return image, boxes, labels.int()
            case "lost label":
                return image, boxes, labels[:0]
            case "nan box":
                return image, boxes * float("nan"), labels
            case "kill" | "bus":
                os.kill(os.getpid(), signal.SIGKILL if self.how == "kill" else signal.SIGBUS)
                time.sleep(60)
            case "sleep":
                os.kill(MAIN_PROCESS, signal.SIGTERM)
                time.sleep(3600)
        return image, boxes, labels


class Unsendable(Failing):
    """Its images cannot be put into shared memory."""

    def read(self, index):
        if os.getpid() != MAIN_PROCESS:
            torch.UntypedStorage._share_fd_cpu_ = _no_space
        return super().read(index)


def _no_space(self, *args, **kwargs):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")
