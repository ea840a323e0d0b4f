"""Inference by windows that slide over the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Size
from detkit.models.answers import Answer
from detkit.models.pixel.inference.bands import Band, bands
from detkit.models.pixel.inference.frames import PreparedFrame, ShiftedFrame, frame_of
from detkit.models.pixel.inference.pixel_network import Network
from detkit.models.pixel.inference.test_time_views import Views, network_in_views
from detkit.object_config import Described
from detkit.structures import SemanticMap
from detkit.structures.image_fields import IGNORE_INDEX, label_map_dtype

if TYPE_CHECKING:
    from detkit.models.pixel.segmentation_model import SegmentationModel


class SlidingWindow(Described):
    """Windows slide over each image; the logits of all windows that show a pixel are averaged.

    The last window of a row and of a column ends with the image; an image smaller than a window is padded. Images that
    preprocessing leaves at their size are normalized window by window, and only one row of windows has logits in
    memory, so that images may be far larger than what a network can take. Windows of a net without padding answer for
    their middle: with a stride as large as that, this is the overlap-tile strategy (Ronneberger 2015, figure 2). Where
    the model makes objects, the logits of the whole image are in memory.

    Args:
        size: (height, width) of a window, in the frame of the network.
        stride: (vertical, horizontal) distance of windows; None: two thirds of a window.
        gaussian: weight the logits of a window by a bell around its middle, of this standard deviation as a share of
            its sides, such as 0.125 (Isensee 2021, nnU-Net); None: equally.
        batch_size: windows that pass through the network at once.
        views: scales and flips of each window whose mean is taken; None: the window as it is.

    Raises:
        InputError: a number is not positive, or the stride is larger than a window.
    """

    def __init__(
        self,
        size: tuple[int, int] = (512, 512),
        stride: tuple[int, int] | None = None,
        gaussian: float | None = None,
        batch_size: int = 4,
        views: Views | None = None,
    ) -> None:
        self.size = (size[0], size[1])
        self.stride = (max(1, size[0] * 2 // 3), max(1, size[1] * 2 // 3)) if stride is None else (stride[0], stride[1])
        if min(self.size) < 1 or min(self.stride) < 1 or batch_size < 1 or (gaussian is not None and gaussian <= 0):
            raise InputError(
                f"SlidingWindow needs positive numbers, got size {self.size}, stride {self.stride}, "
                f"batch_size {batch_size} and gaussian {gaussian}"
            )
        if self.stride[0] > self.size[0] or self.stride[1] > self.size[1]:
            raise InputError(f"SlidingWindow: the stride {self.stride} leaves gaps between windows of {self.size}")
        self.gaussian, self.batch_size, self.views = gaussian, batch_size, views

    @property
    def left_out_of_graphs(self) -> str:
        """See `Whole.left_out_of_graphs`."""
        return "the inference by SlidingWindow" + ("" if self.views is None else " and Views")

    @torch.no_grad()
    def answers(self, model: SegmentationModel, images: Sequence[Tensor]) -> list[Answer]:
        """The answers of the model for `images` as given."""
        network = network_in_views(model, self.views)
        return [self._answer(model, network, image) for image in images]

    def _answer(self, model: SegmentationModel, network: Network, image: Tensor) -> Answer:
        frame = frame_of(image, model.preprocess) if model.objects is None else PreparedFrame(model.preprocess([image]))
        found = bands(frame, network, self.size, self.stride, self.batch_size, self.gaussian)
        if isinstance(frame, ShiftedFrame):
            size = image.shape[-2], image.shape[-1]
            return SemanticMap(_best_classes(found, size, frame.shift, model.head.num_classes))
        parts = list(found)
        logits = torch.cat([part.logits for part in parts], dim=1)[None]
        (answer,) = model.answers(logits, frame.batch, parts[0].margin)
        return answer


def _best_classes(found: Iterator[Band], size: Size, corner: Size, num_classes: int) -> Tensor:
    """The label map ``(*size)`` of an image whose first pixel lies at `corner` (row, column) of the frame."""
    dtype = label_map_dtype(num_classes)
    first = next(found)
    labels = torch.full(size, IGNORE_INDEX[dtype], dtype=dtype, device=first.logits.device)
    for band in chain((first,), found):
        rows, columns = band.top + band.margin - corner[0], band.margin - corner[1]
        best = band.logits[:, max(0, -rows) :, max(0, -columns) :].argmax(dim=0).to(dtype)
        top, left = max(0, rows), max(0, columns)
        part = labels[top : top + len(best), left : left + best.shape[1]]
        part.copy_(best[: part.shape[0], : part.shape[1]])
    return labels
