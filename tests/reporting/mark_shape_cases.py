"""An evaluation whose objects and detections have masks and keypoints."""

from __future__ import annotations

import numpy as np
import torch
from report_cases import CATEGORIES, SIZE, Images

from detkit.evaluation import CocoEvaluator
from detkit.reporting import Evaluated, PageOptions
from detkit.structures import Category, Detections, Target

Y, X = np.mgrid[:SIZE, :SIZE] + 0.5
DISC = (X - 40) ** 2 + (Y - 60) ** 2 < 25**2
RING = DISC & ((X - 40) ** 2 + (Y - 60) ** 2 > 12**2)
CORNER = (X < 9) & (Y < 5)


class Shaped(Images):
    """Images of a ring in a box and of a corner, with masks and keypoints, some of them not labeled."""

    categories = (
        Category(1, "ring", keypoints=("left", "right"), skeleton=((0, 1),), sigmas=(0.1, 0.1)),
        *CATEGORIES[1:],
    )

    def target(self, index: int) -> Target:
        return Target(
            boxes=torch.tensor([[15.0, 35.0, 65.0, 85.0], [0.0, 0.0, 9.0, 5.0]]),
            labels=torch.tensor([0, 0]),
            masks=torch.from_numpy(np.stack([RING, CORNER])),
            keypoints=torch.tensor([[[15.0, 60, 2], [65, 60, 2]], [[0, 0, 0], [9, 5, 1]]]),
            image_id=index + 1,
        )


def shaped(kinds: list[str]) -> Evaluated:
    """Two images with these evaluators of detections: a disc for the ring, of the score of a wrong one."""
    dataset = Shaped([[], []])
    answer = Detections(
        boxes=torch.tensor([[0.0, 0.0, 20.0, 20.0], [15.0, 35.0, 65.0, 85.0]]),
        scores=torch.tensor([0.75, 0.75]),
        labels=torch.tensor([0, 0]),
        masks=torch.from_numpy(np.stack([CORNER, DISC])),
        keypoints=torch.tensor([[[1.0, 1, 0.5], [2, 2, 0.5]], [[16.0, 61, 0.5], [66, 61, 0.5]]]),
    )
    evaluators = {kind: CocoEvaluator(dataset.ground_truth(), kind, categories=dataset.categories) for kind in kinds}
    for evaluator in evaluators.values():
        evaluator.update([dataset.target(index) for index in range(2)], [answer, answer])
        evaluator.compute()
    return Evaluated(evaluators, dataset, PageOptions(bootstrap=0))
