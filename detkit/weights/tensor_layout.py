"""How the tensors of another library's model become those of ours, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.errors import InputError


@dataclass(frozen=True)
class Layout:
    """Names and orders of the tensors of a model, there and here.

    Args:
        names: from all names there to ours.
        to_ours: a tensor in our order, from our name and the tensor in theirs.
        to_theirs: the inverse of `to_ours`.
    """

    names: Callable[[Collection[str]], dict[str, str]]
    to_ours: Callable[[str, Tensor], Tensor]
    to_theirs: Callable[[str, Tensor], Tensor]

    def ours(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of theirs with our names and orders."""
        names = self.names(theirs)
        return {names[name]: self.to_ours(names[name], tensor) for name, tensor in theirs.items()}

    def theirs(self, ours: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """A state dict of ours with their `names` and orders; counters of batches may be missing.

        Raises:
            InputError: our tensors are others than those with these names; the message names one.
        """
        own = self.names(names)
        missing = [name for name in own.values() if name not in ours and not name.endswith("num_batches_tracked")]
        excess = sorted(ours.keys() - own.values())
        if missing or excess:
            raise InputError(f"it has no {missing[0]}" if missing else f"its {excess[0]} has no place")
        return {name: self.to_theirs(mine, ours[mine]) for name, mine in own.items() if mine in ours}


def roll_classes(tensor: Tensor, boxes: int, shift: int) -> Tensor:
    """Weight or bias of a classifier of `boxes` boxes per cell, with the classes of each rolled by `shift`."""
    return torch.unflatten(tensor, 0, (boxes, -1)).roll(shift, dims=1).flatten(0, 1)
