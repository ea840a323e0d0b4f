"""The semantic head of a panoptic model: the classes of stuff, and all things as one (Kirillov 2019, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelOutput
from detkit.heads.pixel.semantic_fpn import SemanticFPNHead, init_
from detkit.structures.device_transfer import to_device

_REFUSED = -1e4  # a logit whose probability is 0, and which float16 holds


class StuffHead(SemanticFPNHead):
    """Logits of the classes of stuff, and of all things together, on a feature pyramid.

    There is an output for each class of the data, in their order, and a last one that stands for all things. Those of
    single things are impossible. So the softmax is over stuff and things, whatever the order of the classes.
    It learns from a ``panoptic_map``, or from a ``label_map`` where a target has one.

    Args:
        channels: of the pyramid, finest first.
        strides: of the same.
        num_classes: things and stuff.
        hidden: see `SemanticFPNHead`.
        groups: see `SemanticFPNHead`.
        criteria: see `PixelHead`.
    """

    learns_from = frozenset({"panoptic_map"})
    _are_things: Sequence[bool] | None = None

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        hidden: int = 128,
        groups: int = 32,
        criteria: Mapping[str, PixelCriterion] | None = None,
    ) -> None:
        super().__init__(channels, strides, num_classes + 1, hidden, groups, criteria)
        self.num_classes = num_classes

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution, of which the last belongs to no class."""
        return {"classes": ClassRows(init_, after=1)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K + 1, h, w)`` at the resolution of the finest map; all where no categories are known."""
        raw = super().forward(features, context)
        if self._are_things is None:  # the network alone, such as for its size
            return raw
        refused = torch.tensor([*self.things(), False])
        penalty = torch.zeros(len(refused)).masked_fill(refused, _REFUSED)[:, None, None]
        return raw._replace(logits=raw.logits + to_device(penalty, raw.logits.device).to(raw.logits.dtype))

    def labels(self, context: Context) -> Tensor:
        """The output that each pixel of a batch belongs to ``(B, H, W)`` int64, -1 where it has no class."""
        outputs = [self.num_classes if is_thing else label for label, is_thing in enumerate(self.things())]
        given = super().labels(context)
        return to_device(torch.tensor([*outputs, -1]), given.device)[given]  # -1 is the last

    def know_things_(self, are_things: Sequence[bool] | None) -> None:
        """Learn from the categories of the model whether each class is a thing; None: they are not known."""
        self._are_things = are_things

    def things(self) -> Sequence[bool]:
        """Whether each class is a thing.

        Raises:
            InputError: the categories of the model are not known.
        """
        if self._are_things is None:
            raise InputError(
                "the model does not know which of its classes are things: set model.categories to those of the data, "
                "with detkit.structures.Category(id, name, is_thing=False) for stuff"
            )
        if len(self._are_things) != self.num_classes:
            raise InputError(
                f"the model has {self.num_classes} classes, but {len(self._are_things)} categories were set"
            )
        return self._are_things


def are_possible(logits: Tensor) -> Tensor:
    """Which `logits` of a `StuffHead` are of outputs that it may choose, bool of the same shape."""
    return logits > _REFUSED / 2
