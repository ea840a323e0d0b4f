"""Label maps and panoptic maps counted by detkit's kernels and by numpy's ways."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.paired_times import Case
from detkit import ops
from detkit.evaluation import SemanticEvaluator
from detkit.structures import SemanticMap, Target

HEIGHT, WIDTH, CLASSES = 1024, 2048, 19  # of Cityscapes
WRONG = 0.02  # the share of scattered wrong pixels in a label map; instances have none


def map_cases() -> list[Case]:
    """Maps of regions, and of noise alone, which no kernel can count in runs; on the CPU alone."""
    random = np.random.default_rng(0)
    truth, other = regions(random), regions(random)
    segments = np.where(other < 3, other, truth)
    answer = np.where(random.random(truth.shape) < WRONG, random.integers(0, CLASSES, truth.shape), segments)
    noise = random.integers(0, CLASSES, (2, HEIGHT, WIDTH))
    cases = []
    for name, own, given, instances in (("regions", truth, answer, segments), ("noise", *noise, noise[1])):
        maps = [torch.from_numpy(one.astype(np.uint8)).cpu() for one in (own, given, instances)]
        label = f"{name} of {HEIGHT} x {WIDTH}"
        cases.append(confusion_case(f"label_confusion, {CLASSES} classes, {label} (numpy)", *maps[:2]))
        with_void = maps[0].clone()
        with_void[: HEIGHT // 10] = 255
        cases.append(update_case(f"SemanticEvaluator.update, {CLASSES} classes, {label} (numpy)", with_void, maps[1]))
        numbers = [one.int() * 65536 + 1 for one in maps]
        cases.append(pairs_case(f"label_pairs, {label} (numpy)", numbers[0], numbers[2]))
    return cases


def confusion_case(name: str, truth: Tensor, answer: Tensor) -> Case:
    return Case(name, lambda: ops.label_confusion(truth, answer, CLASSES), partial(by_bincount, truth, answer))


def update_case(name: str, truth: Tensor, answer: Tensor) -> Case:
    """With all checks; a tenth of the true map is void."""
    categories = [{"id": number, "name": f"class {number}"} for number in range(CLASSES)]
    image = {"id": 0, "file_name": "0.png", "height": HEIGHT, "width": WIDTH}
    evaluator = SemanticEvaluator({"images": [image], "annotations": [], "categories": categories})
    target, given = Target(label_map=truth, image_id=0), SemanticMap(answer)
    return Case(name, lambda: evaluator.update([target], [given]), partial(by_bincount, truth, answer))


def by_bincount(truth: Tensor, answer: Tensor) -> np.ndarray:
    own, given = truth.numpy(), answer.numpy()
    is_counted = own < CLASSES
    cells = CLASSES * own[is_counted].astype(int) + given[is_counted]
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def pairs_case(name: str, first: Tensor, second: Tensor) -> Case:
    def by_unique() -> tuple[np.ndarray, np.ndarray]:
        return np.unique(first.numpy().astype(np.int64) * 2**32 + second.numpy(), return_counts=True)

    return Case(name, lambda: ops.label_pairs(first, second), by_unique)


def regions(random: np.random.Generator) -> np.ndarray:
    """Where each class is the strongest of smooth random fields."""
    fields = (random.normal(size=(HEIGHT // 64, WIDTH // 64)) for _ in range(CLASSES))
    return np.stack([cv2.resize(one, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for one in fields]).argmax(axis=0)
