"""The R-CNN box head: linear SVMs and ridge regression on the vectors of a trained network (Girshick et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from detkit.heads.activations import sigmoid_scores
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.region.box import BoxHead, BoxOutput


class SVMBoxHead(BoxHead):
    """A `BoxHead` whose classes become linear SVMs after training (R-CNN, section 2.3).

    The network is trained with the softmax of `BoxHead`. `detkit.engine.svm.fit_svms` then replaces the weights of the
    last layers and sets ``fitted``; from then on the score of a class is the sigmoid of its SVM's margin, and
    background has none. Arguments as of `BoxHead`.
    """

    fitted: Tensor

    def __init__(self, in_channels: int, resolution: int, num_classes: int, **options: Any) -> None:
        super().__init__(in_channels, resolution, num_classes, **options)
        self.register_buffer("fitted", torch.tensor(False))

    def candidates(self, raw: BoxOutput, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Candidates:
        """As of `BoxHead`; once the SVMs are fitted, logits are their margins."""
        candidates = super().candidates(raw, regions, so_far, context)
        if not bool(self.fitted):
            return candidates
        margins = raw.logits[:, : self.num_classes]
        boxes = self.boxes_of_top_class(self.boxes(raw, regions), margins)
        return replace(candidates, boxes=boxes, logits=margins, activation=sigmoid_scores)

    def scores(self, raw: BoxOutput) -> Tensor:
        """The score of each class ``(R, K)`` in [0, 1]."""
        margins = raw.logits.float()[:, : self.num_classes]
        return torch.where(self.fitted, margins.sigmoid(), super().scores(raw))
