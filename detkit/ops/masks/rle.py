"""Masks as COCO stores them: run-length encoded, column after column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_shape
from detkit.ops.library import NATIVE_DEVICES, is_native


@dataclass(frozen=True)
class RunLengths:
    """N masks of one image, run-length encoded; a tenth of a percent of their size as pixels. They are on the CPU.

    ``len`` is N, and indexing by an integer (one mask), a slice, or a tensor of indices or booleans selects.

    Args:
        counts: int32 ``(R,)``, for each mask in turn the lengths of its runs of equal pixels, column after column: the
            first is outside of the mask (0 where its first pixel is inside), the next inside, and so on.
        offsets: int64 ``(N + 1,)``, where in `counts` each mask begins, and at last R.
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
        if len(self.offsets) == 0 or self.offsets[0] != 0 or self.offsets[-1] != len(self.counts):
            raise InputError(f"offsets must begin with 0 and end with the number of counts, {len(self.counts)}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def concatenated(cls, several: Sequence[RunLengths], height: int, width: int) -> RunLengths:
        """All the masks of `several`, of images of that size."""
        counts = [torch.zeros(0, dtype=torch.int32, device="cpu"), *(masks.counts for masks in several)]
        lengths = [torch.zeros(1, dtype=torch.int64, device="cpu"), *(masks.offsets.diff() for masks in several)]
        return cls(torch.cat(counts), torch.cat(lengths).cumsum(0), height, width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(N, H, W)``, that of the masks as pixels."""
        return len(self), self.height, self.width

    def __getitem__(self, index: int | slice | Tensor) -> RunLengths:
        chosen = torch.arange(len(self), device="cpu")[index].reshape(-1)
        runs = [self.counts[self.offsets[i] : self.offsets[i + 1]] for i in chosen.tolist()]
        return RunLengths(*_packed(runs), self.height, self.width)

    def areas(self) -> Tensor:
        """int64 ``(N,)``, the pixels inside of each mask."""
        if is_native(self.counts.device):
            return torch.ops.detkit.run_areas(self.counts, self.offsets)
        return run_areas_reference(self.counts, self.offsets)

    def boxes(self) -> Tensor:
        """float32 ``(N, 4)``, the smallest box ``x1 y1 x2 y2`` around each mask; zeros for an empty one.

        As COCO has it, a mask with a run that goes on from one column into the next gets the image's whole height,
        which is wider than need be only where the mask touches the lower edge and the next column's upper.
        """
        if is_native(self.counts.device):
            return torch.ops.detkit.run_boxes(self.counts, self.offsets, self.height, self.width)
        return run_boxes_reference(self.counts, self.offsets, self.height, self.width)

    def to_coco(self) -> list[dict]:
        """The masks as pycocotools has them: ``{"size": [height, width], "counts": compressed bytes}`` each."""
        return [{"size": [self.height, self.width], "counts": text} for text in self._strings()]

    @classmethod
    def from_coco(cls, masks: Sequence[dict], size: tuple[int, int] | None = None) -> RunLengths:
        """The masks of one image in COCO's form, with compressed (bytes or str) or plain (list) counts.

        Args:
            masks: dicts of "size" ``[height, width]`` and "counts".
            size: height and width, which only a list without masks needs.

        Raises:
            InputError: the sizes differ, the counts are no mask of that size, or there is no size.
        """
        sizes = {tuple(mask["size"]) for mask in masks} | ({tuple(size)} if size else set())
        if len(sizes) != 1:
            raise InputError(f"masks must be of one size, got {sorted(sizes) or 'no mask and no size'}")
        height, width = sizes.pop()
        strings = [_compressed(mask["counts"]) for mask in masks]
        return cls(*_strings_to_runs(strings, height, width), height, width)

    def _strings(self) -> list[bytes]:
        if is_native(self.counts.device):
            characters, offsets = torch.ops.detkit.runs_to_strings(self.counts, self.offsets)
        else:
            characters, offsets = runs_to_strings_reference(self.counts, self.offsets)
        text, begins = characters.numpy().tobytes(), offsets.tolist()
        return [text[begin:end] for begin, end in pairwise(begins)]


def masks_to_rle(masks: Tensor | RunLengths) -> RunLengths:
    """Run-length encode masks; the runs are those of pycocotools. Masks that are encoded come back as they are.

    Args:
        masks: ``(N, H, W)`` bool or uint8, where what is not zero is inside. They are encoded where they are, and
            the runs come to the CPU.

    Raises:
        InputError: the shape or dtype does not fit.
    """
    if isinstance(masks, RunLengths):
        return masks
    check_shape("masks", masks, ("N", "H", "W"))
    if masks.dtype not in (torch.bool, torch.uint8):
        raise InputError(f"masks must be bool or uint8, got {masks.dtype}: threshold them first")
    height, width = masks.shape[1:]
    if is_native(masks.device):
        return RunLengths(*(part.cpu() for part in torch.ops.detkit.masks_to_runs(masks)), height, width)
    masks = masks.cpu()
    return RunLengths(*masks_to_runs_reference(masks), height, width)


def rle_to_masks(masks: RunLengths | Tensor, device: torch.device | str | None = None) -> Tensor:
    """The reverse of `masks_to_rle`: bool ``(N, H, W)``. Masks that are pixels come back as they are.

    Args:
        masks: of an image.
        device: where the pixels are to be; by default the CPU, or where they are.

    Raises:
        RuntimeError: the runs of a mask are negative, or do not fill it.
    """
    if isinstance(masks, Tensor):
        return masks if device is None else masks.to(device)
    device = torch.device("cpu" if device is None else device)
    if device.type != "cpu" and is_native(device):
        _check_full(masks)
        arrays = masks.counts.to(device), masks.offsets.to(device)
        return torch.ops.detkit.runs_to_masks(*arrays, masks.height, masks.width)
    return _unpacked_on_cpu(masks).to(device)


def _unpacked_on_cpu(masks: RunLengths) -> Tensor:
    if is_native(masks.counts.device):
        return torch.ops.detkit.runs_to_masks(masks.counts, masks.offsets, masks.height, masks.width)
    return runs_to_masks_reference(masks.counts, masks.offsets, masks.height, masks.width)


def polygons_to_rle(objects: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> RunLengths:
    """Fill the polygons of each object as COCO does, to the pixel.

    Args:
        objects: for each object its polygons, each a flat list ``x y x y …`` of corners in pixels. They may cross
            themselves, each other and the image's border; the object is their union. (pycocotools takes four numbers
            for a box. Here they are two corners, and so an empty polygon.)
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        InputError: an object has no polygon, or a polygon has an odd number of coordinates or none that is finite.
    """
    polygons = [
        torch.as_tensor(polygon, dtype=torch.float64, device="cpu").reshape(-1) for one in objects for polygon in one
    ]
    for i, one in enumerate(objects):
        if len(one) == 0:
            raise InputError(f"objects[{i}] has no polygon")
        for j, polygon in enumerate(one):
            if len(polygon) % 2:
                raise InputError(f"objects[{i}][{j}] must be x y of each corner, got {len(polygon)} numbers")
    coordinates = torch.cat([torch.zeros(0, dtype=torch.float64, device="cpu"), *polygons])
    polygon_offsets = _offsets([len(polygon) // 2 for polygon in polygons])
    object_offsets = _offsets([len(one) for one in objects])
    sizes = torch.tensor([[height, width]], dtype=torch.int64, device="cpu").repeat(len(objects), 1)
    run = torch.ops.detkit.polygons_to_runs if is_native(coordinates.device) else polygons_to_runs_reference
    try:
        return RunLengths(*run(coordinates, polygon_offsets, object_offsets, sizes), height, width)
    except RuntimeError as error:
        raise InputError(str(error)) from None


def mask_iou(masks1: RunLengths, masks2: RunLengths, iscrowd: Tensor | None = None) -> Tensor:
    """How much every mask of one set overlaps every mask of another, as COCO's evaluation has it.

    Args:
        masks1: N masks of an image.
        masks2: M masks of the same image.
        iscrowd: bool ``(M,)``; the overlap with a crowd is the share of the mask of `masks1` that lies in it.

    Returns:
        float64 ``(N, M)`` in [0, 1].

    Raises:
        InputError: the masks are not of one size, or iscrowd does not fit.
    """
    if (masks1.height, masks1.width) != (masks2.height, masks2.width):
        raise InputError(
            f"masks1 and masks2 must be of one size, got {masks1.height} x {masks1.width} and "
            f"{masks2.height} x {masks2.width}"
        )
    iscrowd = torch.zeros(len(masks2), dtype=torch.bool, device="cpu") if iscrowd is None else iscrowd
    check_shape("iscrowd", iscrowd, (len(masks2),))
    if iscrowd.dtype != torch.bool:
        raise InputError(f"iscrowd must be bool, got {iscrowd.dtype}")
    run = torch.ops.detkit.run_iou if is_native(masks1.counts.device) else run_iou_reference
    return run(masks1.counts, masks1.offsets, masks2.counts, masks2.offsets, masks1.height, masks1.width, iscrowd.cpu())


def masks_to_runs_reference(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The runs of masks, in plain torch."""
    pixels = (masks != 0).transpose(1, 2).flatten(1)  # column after column
    outside = pixels.new_zeros(len(pixels), 1)
    return _packed([_runs_of(row) for row in (pixels != torch.cat([outside, pixels[:, :-1]], 1))])


def runs_to_masks_reference(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """The reverse of `masks_to_runs_reference`, in plain torch."""
    masks = [
        torch.repeat_interleave(torch.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        for runs in _unpacked(counts, offsets)
    ]
    return torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool)


def run_areas_reference(counts: Tensor, offsets: Tensor) -> Tensor:
    """`RunLengths.areas` in plain torch."""
    return torch.tensor([int(runs[1::2].sum()) for runs in _unpacked(counts, offsets)], dtype=torch.int64)


def run_boxes_reference(counts: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """`RunLengths.boxes` by pycocotools."""
    boxes = torch.as_tensor(coco_masks.toBbox(_coco_masks(counts, offsets, height, width)))
    boxes = boxes.reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1).float()


def run_iou_reference(
    counts1: Tensor, offsets1: Tensor, counts2: Tensor, offsets2: Tensor, height: int, width: int, iscrowd: Tensor
) -> Tensor:
    """`mask_iou` by pycocotools."""
    masks1, masks2 = _coco_masks(counts1, offsets1, height, width), _coco_masks(counts2, offsets2, height, width)
    if not masks1 or not masks2:
        return torch.zeros(len(masks1), len(masks2), dtype=torch.float64)
    return torch.as_tensor(coco_masks.iou(masks1, masks2, iscrowd.tolist()).copy())


def polygons_to_runs_reference(
    coordinates: Tensor, polygon_offsets: Tensor, object_offsets: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """The runs of objects given by polygons, by pycocotools."""
    polygons = _unpacked(coordinates.reshape(-1, 2), polygon_offsets)
    begins, runs = object_offsets.tolist(), []
    for (begin, end), (height, width) in zip(pairwise(begins), sizes.tolist(), strict=True):
        if begin == end:
            raise RuntimeError(f"object {len(runs)}: it has no polygon")
        for coordinate in torch.cat(polygons[begin:end]).flatten().tolist():
            if not abs(5 * coordinate + 0.5) < 2**30:
                raise RuntimeError(f"object {len(runs)}: a polygon has the coordinate {coordinate}")
        corners = [_at_least_three(polygon.tolist()) for polygon in polygons[begin:end]]
        merged = coco_masks.merge(coco_masks.frPyObjects(corners, height, width))
        runs.append(torch.tensor(_read_string(merged["counts"]), dtype=torch.int32))
    return _packed(runs)


def runs_to_strings_reference(counts: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """COCO's compressed strings of runs: uint8 characters of all, and where each begins."""
    strings = [_write_string(runs.tolist()) for runs in _unpacked(counts, offsets)]
    characters = torch.tensor(list(b"".join(strings)), dtype=torch.uint8)
    return characters, _offsets([len(string) for string in strings])


def strings_to_runs_reference(characters: Tensor, offsets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The reverse of `runs_to_strings_reference`."""
    runs = []
    for i, string in enumerate(_unpacked(characters, offsets)):
        try:
            own = _read_string(string.numpy().tobytes())
        except ValueError as error:
            raise RuntimeError(f"mask {i}: {error}") from None
        if any(run < 0 for run in own) or sum(own) != height * width:
            raise RuntimeError(f"mask {i}: its runs are negative, or do not sum to {height * width}")
        runs.append(torch.tensor(own, dtype=torch.int32))
    return _packed(runs)


def _write_string(runs: list[int]) -> bytes:
    digits = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while not -16 <= value < 16:
            digits.append(value & 31 | 32)
            value >>= 5
        digits.append(value & 31)
    return bytes(ord("0") + digit for digit in digits)


def _read_string(string: bytes) -> list[int]:
    runs, value, shift = [], 0, 0
    for at, character in enumerate(string):
        code = character - ord("0")
        if not 0 <= code < 64:
            raise ValueError(f"its character {at} is none of '0' to 'o'")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("it ends within a number")
    return runs


def _check_full(masks: RunLengths) -> None:
    """Raise RuntimeError unless the runs of each mask fill it; the kernels of a GPU rely on that."""
    ends = torch.cat([masks.offsets.new_zeros(1), masks.counts.long().cumsum(0)])
    wrong = torch.where(ends[masks.offsets].diff() != masks.height * masks.width)[0]
    if len(wrong) or bool((masks.counts < 0).any()):
        which = f"mask {int(wrong[0])}: its runs" if len(wrong) else "runs"
        raise RuntimeError(f"{which} must not be negative, and sum to {masks.height} x {masks.width} pixels")


def _compressed(counts: bytes | str | Sequence[int]) -> bytes:
    """COCO's compressed string from any of the forms that annotation files have."""
    if isinstance(counts, str):
        return counts.encode()
    return counts if isinstance(counts, bytes) else _write_string([int(run) for run in counts])


def _strings_to_runs(strings: list[bytes], height: int, width: int) -> tuple[Tensor, Tensor]:
    characters = torch.frombuffer(bytearray(b"".join(strings)) or bytearray(1), dtype=torch.uint8)
    offsets = _offsets([len(string) for string in strings])
    run = torch.ops.detkit.strings_to_runs if is_native(characters.device) else strings_to_runs_reference
    try:
        return run(characters[: int(offsets[-1])], offsets, height, width)
    except RuntimeError as error:
        raise InputError(str(error)) from None


def _runs_of(changes: Tensor) -> Tensor:
    """The runs of a mask given where it changes, bool ``(pixels,)``."""
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), torch.where(changes)[0], torch.tensor([len(changes)])])
    return edges.diff().int()


def _coco_masks(counts: Tensor, offsets: Tensor, height: int, width: int) -> list[dict]:
    strings = [_write_string(runs.tolist()) for runs in _unpacked(counts, offsets)]
    return [{"size": [height, width], "counts": string} for string in strings]


def _at_least_three(corners: list[list[float]]) -> list[float]:
    """A polygon as pycocotools wants it, which takes four numbers for a box; a corner more often changes nothing."""
    corners = corners or [[0.0, 0.0]]
    corners = corners + corners[-1:] * (3 - len(corners))
    return [coordinate for corner in corners for coordinate in corner]


def _offsets(sizes: list[int]) -> Tensor:
    """Where each item begins when items of these sizes follow one another, and where the last ends."""
    return torch.tensor([0, *sizes], dtype=torch.int64, device="cpu").cumsum(0)


def _packed(runs: list[Tensor]) -> tuple[Tensor, Tensor]:
    counts = torch.cat([torch.zeros(0, dtype=torch.int32, device="cpu"), *runs])
    return counts, _offsets([len(one) for one in runs])


def _unpacked(packed: Tensor, offsets: Tensor) -> list[Tensor]:
    begins = offsets.tolist()
    return [packed[begin:end] for begin, end in pairwise(begins)]


def _fake_packed(like: Tensor, count, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Numbers of unknown count, and the offsets of `count` items."""
    size = torch.library.get_ctx().new_dynamic_size()
    return like.new_empty(size, dtype=dtype), like.new_empty(count + 1, dtype=torch.int64)


def _fake_masks_to_runs(masks):
    return _fake_packed(masks, masks.shape[0], torch.int32)


def _fake_runs_to_masks(counts, offsets, height, width):
    return counts.new_empty(offsets.shape[0] - 1, height, width, dtype=torch.bool)


def _fake_runs_to_strings(counts, offsets):
    return _fake_packed(counts, offsets.shape[0] - 1, torch.uint8)


def _fake_strings_to_runs(characters, offsets, height, width):
    return _fake_packed(characters, offsets.shape[0] - 1, torch.int32)


def _fake_polygons_to_runs(coordinates, polygon_offsets, object_offsets, sizes):
    return _fake_packed(coordinates, object_offsets.shape[0] - 1, torch.int32)


def _fake_run_areas(counts, offsets):
    return counts.new_empty(offsets.shape[0] - 1, dtype=torch.int64)


def _fake_run_boxes(counts, offsets, height, width):
    return counts.new_empty(offsets.shape[0] - 1, 4, dtype=torch.float32)


def _fake_run_iou(counts1, offsets1, counts2, offsets2, height, width, iscrowd):
    return counts1.new_empty(offsets1.shape[0] - 1, offsets2.shape[0] - 1, dtype=torch.float64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::masks_to_runs", _fake_masks_to_runs)
    torch.library.register_fake("detkit::runs_to_masks", _fake_runs_to_masks)
    torch.library.register_fake("detkit::runs_to_strings", _fake_runs_to_strings)
    torch.library.register_fake("detkit::strings_to_runs", _fake_strings_to_runs)
    torch.library.register_fake("detkit::polygons_to_runs", _fake_polygons_to_runs)
    torch.library.register_fake("detkit::run_areas", _fake_run_areas)
    torch.library.register_fake("detkit::run_boxes", _fake_run_boxes)
    torch.library.register_fake("detkit::run_iou", _fake_run_iou)
