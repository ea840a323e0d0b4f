"""Inference with batch norm folded into the convolutions before it, on a copy that leaves the model as it is."""

from detkit.models.folding.fold import folded, forget

__all__ = ["folded", "forget"]
