"""The contract of pixel heads, which give a class to each pixel."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.assignment import CERTAIN
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.batch_labels import IGNORED, batch_label_maps, batch_pixel_weights
from detkit.heads.pixel.criteria import CrossEntropy, PixelCriterion
from detkit.ops import is_exporting
from detkit.precise import precise
from detkit.preprocess import Batch
from detkit.structures import SemanticMap
from detkit.structures.image_fields import IGNORE_INDEX, label_map_dtype


class PixelOutput(NamedTuple):
    """The outputs of a pixel head.

    Args:
        logits: ``(B, K, h, w)`` of each class, of any resolution; they cover the frame of the network without `margin`.
        auxiliary: further logits that are supervised in the same way, by their name in losses (deep supervision).
        margin: pixels of the network's frame on each side that the logits do not cover, of nets without padding.
    """

    logits: Tensor
    auxiliary: Mapping[str, Tensor] = {}
    margin: int = 0


class PixelLabels(NamedTuple):
    """The answers for a batch in the frame of the network without its margin.

    Args:
        label_map: ``(B, H, W)`` uint8, or int16 where there are more than 254 classes.
        logits: ``(B, K, h, w)`` float32 of any resolution; at that of the map, bilinearly, the best is the class.
    """

    label_map: Tensor
    logits: Tensor

    def outputs(self) -> dict[str, Tensor]:
        """The tensors by their names in an exported graph."""
        return self._asdict()


class PixelHead(nn.Module):
    """A head that gives a class to each pixel, with its own losses and decoding.

    A subclass implements `forward`. Logits of any resolution are brought to that of the images bilinearly: to that of
    the network for losses, to that of the given image for answers, before the best class is chosen.

    Args:
        num_classes: classes, background included where the data has it.
        criteria: the losses by name; None: ``semantic``, a `CrossEntropy`.

    Attributes:
        learns_from: the field or fields of `Target` that it learns from.
        asks_for: the field or fields of `Target` that it needs with each image also at inference.
    """

    learns_from: str | Collection[str] = frozenset({"label_map"})
    asks_for: str | Collection[str] = frozenset()

    def __init__(self, num_classes: int, criteria: Mapping[str, PixelCriterion] | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.criteria = dict(criteria or {"semantic": CrossEntropy()})

    def class_rows(self) -> Mapping[str, ClassRows] | None:
        """The layers whose outputs belong to classes, by their name in this module; see `DenseHead.class_rows`."""
        return None

    def forward(self, features: Any, context: Context) -> PixelOutput:
        """Class logits for the maps of the backbone."""
        raise NotImplementedError

    def labels(self, context: Context) -> Tensor:
        """The output that each pixel belongs to ``(B, H, W)`` int64 in the network's frame, -1 for none: its class."""
        return batch_label_maps(context)

    def losses(self, raw: PixelOutput, context: Context) -> dict[str, Tensor]:
        """Each criterion of the logits under its name, and of the auxiliary ones under ``auxiliary.NAME``.

        Logits are resized in float32: the gradient of one of them is a sum over all pixels that it is spread to.
        """
        labels = self._within_margin(self.labels(context), raw.margin)
        weights = self._pixel_weights(raw, context)
        return {
            f"{prefix}{name}": criterion(at_size(precise(logits), labels.shape[-2:]), labels, weights)
            for prefix, logits in self._supervised(raw).items()
            for name, criterion in self.criteria.items()
        }

    @torch.no_grad()
    def decode(self, raw: PixelOutput, context: Context) -> Sequence[SemanticMap]:
        """The class of each pixel of the images as given."""
        return self.answers(self.full_logits(raw, context), context.batch, raw.margin)

    def answers(self, logits: Tensor, batch: Batch, margin: int) -> list[SemanticMap]:
        """The best class of each pixel of the images as given; none where the network does not see the image.

        Args:
            logits: ``(B, K, H - 2 margin, W - 2 margin)``, in the frame of the network.
            batch: with the placements of the images.
            margin: pixels of the frame on each side that the logits do not cover.
        """
        return restored_labels(logits, batch, margin)

    @torch.no_grad()
    def decode_padded(self, raw: PixelOutput, context: Context) -> PixelLabels:
        """The class of each pixel in the frame of the network, and the logits."""
        labels = self.full_logits(raw, context).argmax(dim=1).to(label_map_dtype(self.num_classes))
        return PixelLabels(labels, raw.logits.float())

    def full_logits(self, raw: PixelOutput, context: Context) -> Tensor:
        """The logits ``(B, K, H, W)`` in float32 at the resolution of the network's frame without the margin."""
        height, width = context.batch.padded_size
        return at_size(raw.logits.float(), (height - 2 * raw.margin, width - 2 * raw.margin))

    def ideal(self, raw: PixelOutput, context: Context) -> PixelOutput:
        """The share of each class in each cell of the logits; see `DenseHead.ideal`."""
        labels = self._within_margin(self.labels(context), raw.margin)
        shares = F.one_hot(labels.clamp(min=0), raw.logits.shape[1]).movedim(-1, 1) * (labels != IGNORED)[:, None]
        height, width = raw.logits.shape[-2:]
        cells = F.adaptive_avg_pool2d(shares.float(), (height, width))
        return raw._replace(logits=CERTAIN * (2 * cells - 1))

    def _supervised(self, raw: PixelOutput) -> dict[str, Tensor]:
        """The logits that losses compare, by the prefix of their losses."""
        return {"": raw.logits} | {f"auxiliary.{name}.": logits for name, logits in raw.auxiliary.items()}

    def _pixel_weights(self, raw: PixelOutput, context: Context) -> Tensor | None:
        """Factors ``(B, H, W)`` of the losses of pixels: those of the targets if it learns from them; None: all 1."""
        if "pixel_weights" not in self.learns_from:
            return None
        return self._within_margin(batch_pixel_weights(context), raw.margin)

    def _within_margin(self, values: Tensor, margin: int) -> Tensor:
        return values[..., margin:-margin, margin:-margin] if margin else values


def restored_labels(logits: Tensor, batch: Batch, margin: int = 0) -> list[SemanticMap]:
    """The class of each pixel of the images as given: logits are put back before the best class is chosen.

    Args:
        logits: ``(B, K, H - 2 margin, W - 2 margin)`` in the frame of the network.
        batch: the images, with their placements.
        margin: pixels of the frame that the logits lack on each side.
    """
    dtype = label_map_dtype(logits.shape[1])
    answers: dict[int, SemanticMap] = {}
    for rows, group in batch.restored_groups(logits, margin):
        labels = group.argmax(dim=1)
        for row, one in zip(rows, labels, strict=True):  # each in memory of its own
            answers[row] = SemanticMap(_only_seen(one.to(dtype), batch.placements[row]))
    return [answers[row] for row in range(len(answers))]


def at_size(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Maps of numbers such as logits ``(B, K, h, w)`` at another size, bilinearly, by the centers of pixels."""
    if not is_exporting() and tuple(logits.shape[-2:]) == tuple(size):  # a graph of any size cannot compare them
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


def _only_seen(label_map: Tensor, placement: Any) -> Tensor:
    """Pixels of a given image that its placement in the network cuts off get no class."""
    left, top, right, bottom = placement.visible_part
    height, width = label_map.shape
    if not placement.is_axis_aligned or (left, top, right, bottom) == (0, 0, width, height):
        return label_map
    seen = torch.zeros_like(label_map, dtype=torch.bool)
    seen[math.ceil(top - 0.5) : math.ceil(bottom - 0.5), math.ceil(left - 0.5) : math.ceil(right - 0.5)] = True
    return label_map.masked_fill(~seen, IGNORE_INDEX[label_map.dtype])
