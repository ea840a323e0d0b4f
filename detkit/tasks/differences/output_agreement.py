"""Whether the outputs of two graphs for the same images agree, and if not, which output is at fault.

B  images     N, M  detections of an image, of one side and the other
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

BEST = 50
"""So many detections of each image, the most certain, are compared: the others hang on where the list ends."""

LOGITS = "logits of keypoints"


class Tolerance(NamedTuple):
    """How far two answers may differ.

    Args:
        difference: the largest of an output, of its largest number.
        unpaired: the largest share of detections of an image without a partner.
    """

    difference: float
    unpaired: float


def unequal_detections(given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance) -> str | None:
    """What differs, ``boxes differ by 3``; None where all outputs agree.

    Detections have no order where their scores are equal. They are paired one to one, and partners agree in all
    outputs.

    Args:
        given: the outputs by name.
        own: what they should be.
        tolerance: of the comparison.
    """
    given, own = (_with_logits_apart(outputs) for outputs in (given, own))
    bounds = _bounds(own, tolerance.difference)
    for image in range(len(own["count"])):
        counts = int(given["count"][image]), int(own["count"][image])
        if min(counts) < (1 - tolerance.unpaired) * max(counts):
            return f"count is {counts[0]} instead of {counts[1]}"
        found = _unpaired(_rows(given, image), _rows(own, image), bounds, tolerance.unpaired) if max(counts) else None
        if found is not None:
            return found
    return None


def unequal_numbers(given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance) -> str | None:
    """What differs, ``scores differ by 3``, number for number; None where all outputs agree.

    Args:
        given: the outputs by name.
        own: what they should be.
        tolerance: of the comparison.
    """
    for name, expected in own.items():
        if given[name].shape != expected.shape:
            return f"{name} has the shape {tuple(given[name].shape)} instead of {tuple(expected.shape)}"
        difference = _largest(given[name].double() - expected.double())
        if not difference <= tolerance.difference * max(1.0, _largest(expected)):
            return f"{name} differs by {difference:.2g}"
    return None


def _with_logits_apart(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with the logits of keypoints by themselves: they are no pixels."""
    points = outputs.get("keypoints")
    if points is None:
        return dict(outputs)
    return {**outputs, "keypoints": points[..., :2], LOGITS: points[..., 2:]}


def _rows(outputs: Mapping[str, Tensor], image: int) -> dict[str, Tensor]:
    """The detections of an image ``(N, ...)`` by output."""
    count = int(outputs["count"][image])
    return {name: values[image, :count].float() for name, values in outputs.items() if name != "count"}


def _bounds(own: Mapping[str, Tensor], tolerance: float) -> dict[str, float]:
    """How far partners may lie apart in each output."""
    bounds = {name: tolerance * max(1.0, _largest(values)) for name, values in own.items()}
    scores = tolerance * _largest(own["scores"])  # which may all be small
    return bounds | {"scores": scores, "labels": 0.5}


def _unpaired(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], bounds: Mapping[str, float], most: float
) -> str | None:
    """The output that leaves too many detections of an image without a partner, and how far it is off."""
    apart = {name: torch.cdist(_flat(own[name]), _flat(given[name]), p=math.inf) for name in own}
    agree = {name: apart[name] <= bounds[name] for name in own}
    if _share_paired(list(agree.values())) >= 1 - most:
        return None
    # Without the output at fault the others pair the detections.
    shares = {name: _share_paired([one for other, one in agree.items() if other != name]) for name in agree}
    fault = max(shares, key=lambda name: shares[name])
    return f"{fault} {_by_how_much(fault, apart[fault], [agree[name] for name in agree if name != fault])}"


def _share_paired(agree: Sequence[Tensor]) -> float:
    """The share of the best of either side that find a partner among all of the other."""
    together = torch.stack(list(agree)).all(dim=0).numpy()
    return min(_share_of_best(together), _share_of_best(together.T))


def _share_of_best(agree: np.ndarray) -> float:
    best = agree[:BEST]
    partners = maximum_bipartite_matching(csr_matrix(best), perm_type="column")
    return float((partners >= 0).mean()) if len(best) else 1.0


def _by_how_much(name: str, apart: Tensor, others: Sequence[Tensor]) -> str:
    """How far an output is off, for detections that agree in the others."""
    pairs = apart[torch.stack(list(others)).all(dim=0)]
    if name == "labels":
        return "are of other classes"
    return f"differ by {float(pairs.median()):.2g}" if pairs.numel() else "differ, and so does all else"


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _flat(rows: Tensor) -> Tensor:
    """Rows of numbers; `torch.cdist` passes over NaN, infinity it does not."""
    return rows.reshape(len(rows), -1).nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
