"""`ClassRows`: which outputs of a layer belong to the classes of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassRows:
    """Which outputs of a layer are those of classes, so that a model for other classes keeps all that it can.

    A layer for K classes has ``groups * (before + K * values + after) + rest`` outputs, in this order::

        [before | class 0 | ... | class K - 1 | after]  of group 0, of group 1 ...     rest

    Args:
        initialize: called with a new layer of the same kind; initializes it in place as the head's constructor does.
        groups: such as the anchors of a cell.
        values: of each class, such as the 4 deltas of its box.
        before: outputs of a group ahead of its classes, such as a box and its objectness.
        after: outputs of a group behind its classes, such as the logit of background.
        rest: outputs behind all groups.
        names: whose rows they are: those of the classes, or of the keypoints of a class.
    """

    initialize: Callable[[Any], object]
    groups: int = 1
    values: int = 1
    before: int = 0
    after: int = 0
    rest: int = 0
    names: Literal["classes", "keypoints"] = "classes"

    def outputs(self, count: int) -> int:
        """The outputs of a layer for `count` classes."""
        return self.groups * (self.before + count * self.values + self.after) + self.rest

    def count(self, outputs: int) -> int | None:
        """The number of classes of a layer with so many `outputs`; None where no number fits."""
        count = ((outputs - self.rest) // self.groups - self.before - self.after) // self.values
        return count if count > 0 and self.outputs(count) == outputs else None

    def merged(self, own: Tensor, given: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """A copy of `own` with what it shares with `given`: the rows of the same classes, and all of no class.

        Args:
            own: a parameter of a layer, its outputs first.
            given: that of a layer of the same kind for any number of classes.
            pairs: a class of `own`, and the same class of `given`.
        """
        merged = own.clone()
        own_groups, own_rest = self._parts(merged)
        given_groups, given_rest = self._parts(given)
        own_rest.copy_(given_rest)
        own_groups[:, : self.before] = given_groups[:, : self.before]
        own_groups[:, own_groups.shape[1] - self.after :] = given_groups[:, given_groups.shape[1] - self.after :]
        for to, of in pairs:
            own_groups[:, self._values(to)] = given_groups[:, self._values(of)].to(own.dtype)
        return merged

    def _parts(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the rows of all groups ``(groups, before + K * values + after, ...)``, and of the rest."""
        end = len(parameter) - self.rest
        return torch.unflatten(parameter[:end], 0, (self.groups, -1)), parameter[end:]

    def _values(self, label: int) -> slice:
        return slice(self.before + label * self.values, self.before + (label + 1) * self.values)


def outputs_first(layer: nn.Module, parameter: Tensor) -> Tensor:
    """A view of a `parameter` of `layer` with its outputs as the first dimension; its own inverse."""
    transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    return parameter.transpose(0, 1) if transposed and parameter.ndim > 1 else parameter


def outputs_of(layer: nn.Module) -> int | None:
    """The number of outputs of a linear layer or a convolution; None of any other."""
    for attribute in ("out_features", "out_channels"):
        if isinstance(count := getattr(layer, attribute, None), int):
            return count
    return None
