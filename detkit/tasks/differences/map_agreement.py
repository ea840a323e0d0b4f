"""Whether the label maps and logits of two graphs for the same images agree.

B  images     K  classes     H, W  pixels of the label maps     h, w  cells of the logits
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from detkit.heads.pixel.pixel_head import at_size
from detkit.tasks.differences.output_agreement import Tolerance, unequal_numbers


def unequal_maps(given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance) -> str | None:
    """What differs, ``label_map differs in 12 of 4096 pixels``; None where all outputs agree.

    Logits are compared number for number. The class of a pixel may be another one only where the logits of both differ
    by no more than rounding.

    Args:
        given: ``label_map`` ``(B, H, W)`` and ``logits`` ``(B, K, h, w)``.
        own: what they should be.
        tolerance: of the comparison.
    """
    labels, expected = given["label_map"], own["label_map"]
    if labels.shape != expected.shape:
        return f"label_map has the shape {tuple(labels.shape)} instead of {tuple(expected.shape)}"
    numbers = {name: value for name, value in own.items() if name != "label_map"}
    found = unequal_numbers(given, numbers, tolerance)
    if found is not None:
        return found
    logits = at_size(own["logits"].float(), expected.shape[1:])
    rounding = 2 * tolerance.difference * max(1.0, float(own["logits"].abs().max()))
    chosen = labels.long()[:, None].clamp(0, logits.shape[1] - 1)
    is_near = logits.amax(dim=1) - logits.gather(1, chosen)[:, 0] <= rounding
    is_class = (labels.long() >= 0) & (labels.long() < logits.shape[1])
    wrong = int(((labels != expected) & ~(is_near & is_class)).sum())
    return f"label_map differs in {wrong} of {labels.numel()} pixels" if wrong else None
