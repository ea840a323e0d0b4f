"""How often each class of a label map was given each class of another."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_same_device
from detkit.ops.library import NATIVE_DEVICES, is_native

LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)

_MOST_CLASSES = 4096


def label_confusion(truth: Tensor, answer: Tensor, rows: int, columns: int | None = None) -> Tensor:
    """The confusion matrix of two label maps: the pixels of each pair of classes.

    A pixel whose true label is none of ``0..rows-1``, such as 255 or -1, does not count.

    Args:
        truth: the class of each pixel, uint8, int16, int32 or int64 of any shape.
        answer: likewise, of the same shape; not necessarily of the same dtype.
        rows: T, the number of classes of the truth.
        columns: A, that of the answer, whose labels may stand for other classes; None: the same number.

    Returns:
        int64 ``(T, A + 1)`` on the device of the maps; the last column counts answers that are none of ``0..A-1``.

    Raises:
        InputError: shapes or dtypes do not fit, or there are more than 4096 classes.
    """
    columns = rows if columns is None else columns
    for name, labels in (("truth", truth), ("answer", answer)):
        if not isinstance(labels, Tensor) or labels.dtype not in LABEL_DTYPES:
            given = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
            raise InputError(f"{name} must be a tensor of uint8, int16, int32 or int64 labels, got {given}")
    if truth.shape != answer.shape:
        raise InputError(f"truth and answer must be of one shape, got {tuple(truth.shape)} and {tuple(answer.shape)}")
    for name, number in (("rows", rows), ("columns", columns)):
        if not 0 <= number <= _MOST_CLASSES:
            raise InputError(f"{name} must be from 0 to {_MOST_CLASSES}, got {number}")
    check_same_device(truth=truth, answer=answer)
    dtype = torch.promote_types(truth.dtype, answer.dtype)
    truth, answer = truth.to(dtype), answer.to(dtype)
    if is_native(truth.device):
        counts: Tensor = torch.ops.detkit.label_confusion(truth, answer, rows, columns)
        return counts
    return label_confusion_reference(truth, answer, rows, columns)


def label_confusion_reference(truth: Tensor, answer: Tensor, rows: int, columns: int) -> Tensor:
    """`label_confusion` in plain torch."""
    row, column = (
        torch.where((one >= 0) & (one < classes), one, classes).flatten()
        for one, classes in ((truth.long(), rows), (answer.long(), columns))
    )
    cells = torch.bincount(row * (columns + 1) + column, minlength=(rows + 1) * (columns + 1))
    return cells.reshape(rows + 1, columns + 1)[:rows].contiguous()


def _fake_label_confusion(truth: Tensor, answer: Tensor, rows: int, columns: int) -> Tensor:
    return truth.new_empty(rows, columns + 1, dtype=torch.int64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::label_confusion", _fake_label_confusion)
