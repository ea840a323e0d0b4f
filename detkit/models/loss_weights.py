"""How much each named loss counts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detkit.errors import InputError


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """`losses`, each times its factor in `weights`, 1 where it has none.

    Raises:
        InputError: `weights` names a loss that there is not.
    """
    unknown = weights.keys() - losses.keys()
    if unknown:
        raise InputError(f"loss_weights names {sorted(unknown)}, but the losses are {sorted(losses)}")
    return {name: weights.get(name, 1.0) * loss for name, loss in losses.items()}
