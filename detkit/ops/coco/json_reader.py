"""Reading lists of objects in a JSON file into one or more tensors per key, without Python objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.ops.library import is_native


def read_json_columns(
    text: Tensor, lists: Sequence[str], keys: Sequence[str], kinds: Sequence[str]
) -> list[Tensor] | None:
    """The columns of lists in a JSON file: ``csrc/json_columns.h`` lists the tensors of each kind.

    There is no reference: where the library is not built, callers parse the file with `json`.

    Args:
        text: ``(B,)`` uint8, the file.
        lists: for each column the key of a list in the outermost object; "" where the file itself is the list.
        keys: for each column the key of the objects in that list.
        kinds: for each column "key", "number", "flag", "numbers" or "mask".

    Returns:
        The tensors of all columns, one column after the other; None where the library is not built.

    Raises:
        RuntimeError: malformed JSON, a list that is missing, or a value of another kind; the message says where.
    """
    if not is_native(text.device):
        return None
    columns: list[Tensor] = torch.ops.detkit.read_json_columns(text, list(lists), list(keys), list(kinds))
    return columns
