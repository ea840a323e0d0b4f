"""The base class of models with a single head, which owns their losses, assignment and decoding."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detkit.heads import DenseHead, ImageHead
from detkit.heads.context import Candidates, Context
from detkit.models.vision_model import VisionModel


class SingleHeadModel(VisionModel):
    """A model whose raw output is that of its one head.

    Attributes:
        head: makes the losses, candidates, assignment and answers.
    """

    head: DenseHead | ImageHead

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The head's losses."""
        return self.head.losses(raw, context)

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """The head's candidates."""
        return self.head.candidates(raw, context)

    def assign(self, raw: Any, context: Context) -> Tensor:
        """The head's assignment."""
        return self.head.assign(raw, context)

    def decode_padded(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The head's answers in the network's frame, as tensors of fixed size."""
        return self.head.decode_padded(raw, context).outputs()

    def decode(self, raw: Any, context: Context) -> Any:
        """The head's answer for each image, in pixels of the images as given."""
        return self.head.decode(raw, context)
