"""`ExportedGraph`: pixels to answers as one module, without anything that depends on Python.

B  images     H, W  pixels of the padded batch
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detkit.exporting.precisions.float16 import as_float32
from detkit.exporting.score_thresholds import ScoreThresholds
from detkit.heads.context import Context
from detkit.models import VisionModel
from detkit.preprocess import Batch


@dataclass(frozen=True, eq=False)
class ExportedBatch(Batch):
    """A batch whose images are known by their sizes alone, which are a tensor.

    Args:
        images: as of `Batch`.
        placements: none.
        image_sizes: int64 ``(B, 2)``, the (height, width) of each image without padding; None: there is no padding.
    """

    image_sizes: Tensor | None = None

    @property
    def sizes(self) -> Tensor:  # type: ignore[override]  # heads and postprocessing take both
        """(height, width) of each image without padding, int64 ``(B, 2)``."""
        if self.image_sizes is not None:
            return self.image_sizes
        whole = torch.tensor(self.padded_size, device=self.images.device)
        return whole.expand(self.images.shape[0], 2)


class ExportedGraph(nn.Module):
    """Normalization, backbone, neck, heads, decoding and suppression of a model.

    Args:
        model: a model with `decode_padded`, in evaluation mode.

    Attributes:
        score_thresholds: those of the model, which are tensors of the recorded graph.
    """

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.model = model
        self.score_thresholds = ScoreThresholds(model)
        self._dtype = next(model.parameters()).dtype

    def forward(
        self, images: Tensor, sizes: Tensor | None = None, proposals: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The answers for a batch, in pixels of `images`, padded to a fixed number.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], resized, and padded with the mean color.
            sizes: int64 ``(B, 2)``, height and width of each image without padding; None: there is no padding.
            proposals: ``(B, P, 4)`` in pixels of `images`, of a detector without its own; zeros fill up a row.
        """
        preprocess = self.model.preprocess
        # In float32, also of a network in float16.
        pixels = (images - preprocess.mean) / preprocess.std
        batch = ExportedBatch(pixels.to(self._dtype), image_sizes=sizes)
        context = Context(batch, proposals=proposals)
        raw = self.model.heads(self.model.features(batch), context)
        with self.score_thresholds.applied():
            outputs = self.model.decode_padded(raw, context)
        return outputs if self._dtype == torch.float32 else as_float32(outputs)
