"""`RunLengths`: the masks of an image, run-length encoded as in COCO's files, and their areas and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown
from detkit.ops.checks import check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks.ragged import unpack_rows
from detkit.ops.masks.rle_strings import compress_counts, runs_to_strings, strings_to_runs, write_string


@dataclass(frozen=True)
class RunLengths:
    """N masks of one image, run-length encoded; about 0.1 % of their size as pixels. They are on the CPU.

    ``len`` is N. An integer (one mask), a slice, or a tensor of indices or booleans on any device selects masks.

    Args:
        counts: int32 ``(R,)``, for each mask the lengths of its runs of equal pixels in column-major order: the first
            run is outside of the mask (0 if its first pixel is inside), the next inside, and so on.
        offsets: int64 ``(N + 1,)``, where each mask begins in `counts`, and R at the end.
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        InputError: a shape or dtype does not fit.
    """

    counts: Tensor
    offsets: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        check_shape("counts", self.counts, ("R",))
        check_shape("offsets", self.offsets, ("N + 1",))
        for name, dtype in (("counts", torch.int32), ("offsets", torch.int64)):
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tensor.device.type != "cpu":
                raise InputError(f"{name} must be {dtype} on the CPU, got {tensor.dtype} on {tensor.device}")
        ends = self.offsets.numpy()[[0, -1]].tolist() if len(self.offsets) else []
        if ends != [0, len(self.counts)]:
            raise InputError(f"offsets must begin with 0 and end with the number of counts, {len(self.counts)}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def concatenated(cls, several: Sequence[RunLengths], height: int, width: int) -> RunLengths:
        """The masks of `several`, whose images have the given size."""
        counts = [torch.zeros(0, dtype=torch.int32, device="cpu"), *(masks.counts for masks in several)]
        lengths = [torch.zeros(1, dtype=torch.int64, device="cpu"), *(masks.offsets.diff() for masks in several)]
        return cls(torch.cat(counts), torch.cat(lengths).cumsum(0), height, width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(N, H, W)``, the shape of the masks as pixels."""
        return len(self), self.height, self.width

    def __getitem__(self, index: int | slice | Tensor) -> RunLengths:
        # In numpy: for the few masks of an image torch takes five times as long.
        chosen = index.cpu().numpy() if isinstance(index, Tensor) else index
        selected = np.arange(len(self))[chosen].reshape(-1)
        counts, offsets = self.counts.numpy(), self.offsets.numpy()
        begins, ends = offsets[:-1][selected], offsets[1:][selected]
        runs = [counts[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        packed = torch.from_numpy(np.concatenate([counts[:0], *runs]))
        own_offsets = torch.from_numpy(np.concatenate([offsets[:1], (ends - begins).cumsum()]))
        return RunLengths(packed, own_offsets, self.height, self.width)

    def areas(self) -> Tensor:
        """int64 ``(N,)``, the number of pixels of each mask."""
        if is_native(self.counts.device):
            areas: Tensor = torch.ops.detkit.run_areas(self.counts, self.offsets)
            return areas
        return run_areas_reference(self.counts, self.offsets)

    def boxes(self) -> Tensor:
        """float32 ``(N, 4)``, the smallest box ``x1 y1 x2 y2`` around each mask; zeros for an empty one.

        As in COCO's own code, a mask with a run across two columns gets the full height of the image. The box is too
        high only where the mask touches the lower edge of one column and the upper edge of the next.
        """
        if is_native(self.counts.device):
            boxes: Tensor = torch.ops.detkit.run_boxes(self.counts, self.offsets, self.height, self.width)
            return boxes
        return run_boxes_reference(self.counts, self.offsets, self.height, self.width)

    def to_coco(self) -> list[dict[str, Any]]:
        """The masks in pycocotools' form, each ``{"size": [height, width], "counts": compressed bytes}``."""
        return [
            {"size": [self.height, self.width], "counts": string}
            for string in runs_to_strings(self.counts, self.offsets)
        ]

    @classmethod
    def from_coco(cls, masks: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None) -> RunLengths:
        """The masks of one image in COCO's form, with compressed (bytes or str) or plain (list) counts.

        Args:
            masks: dicts of "size" ``[height, width]`` and "counts".
            size: height and width; required only if there are no masks.

        Raises:
            InputError: the sizes differ, counts are not a mask of that size, or there is no size.
        """
        sizes = {checked_mask_size(mask["size"]) for mask in masks} | ({tuple(size)} if size else set())
        if len(sizes) != 1:
            raise InputError(f"masks must be of one size, got {sorted(sizes) or 'no mask and no size'}")
        height, width = sizes.pop()
        strings = compress_counts([mask["counts"] for mask in masks])
        return cls(*strings_to_runs(strings, height, width), height, width)


def checked_mask_size(size: Any) -> tuple[int, int]:
    """The ``size`` of a mask in an annotation file, as height and width in pixels.

    Raises:
        InputError: it is no list of two whole numbers, or they are negative or make 2^31 pixels or more.
    """
    size = size.tolist() if hasattr(size, "tolist") else size
    sides = size if is_finite_numbers(size, 2) else (-1, -1)
    if min(sides) < 0 or any(side != int(side) for side in sides) or sides[0] * sides[1] >= 2**31:
        raise InputError(f"its size {shown(size)} is no height and width in pixels")
    return int(sides[0]), int(sides[1])


def run_areas_reference(counts: Tensor, offsets: Tensor) -> Tensor:
    """`RunLengths.areas` in plain torch."""
    return torch.tensor([int(runs[1::2].sum()) for runs in unpack_rows(counts, offsets)], dtype=torch.int64)


def run_boxes_reference(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """`RunLengths.boxes` by pycocotools."""
    boxes = torch.as_tensor(coco_masks.toBbox(runs_to_coco(counts, offsets, height, width)))
    boxes = boxes.reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).float()


def runs_to_coco(counts: Tensor, offsets: Tensor, height: int, width: int) -> list[dict[str, Any]]:
    """The runs of N masks in the form that pycocotools takes."""
    strings = [write_string(runs.tolist()) for runs in unpack_rows(counts, offsets)]
    return [{"size": [height, width], "counts": string} for string in strings]


def _fake_run_areas(counts: Tensor, offsets: Tensor) -> Tensor:
    return counts.new_empty(offsets.shape[0] - 1, dtype=torch.int64)


def _fake_run_boxes(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    return counts.new_empty(offsets.shape[0] - 1, 4, dtype=torch.float32)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::run_areas", _fake_run_areas)
    torch.library.register_fake("detkit::run_boxes", _fake_run_boxes)
