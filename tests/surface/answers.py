"""Answers of a model as plain values, and when two are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

BOX_TOLERANCE = 1e-3  # pixels
SCORE_TOLERANCE = 1e-5
KEYPOINT_TOLERANCE = 1e-3  # pixels, and of scores
LEAST_MASK_IOU = 0.999


def plain(answer: Any) -> dict[str, Any]:
    """A `Detections` or `Classification`; masks as COCO's run lengths, with their height and width."""
    values: dict[str, Any] = {"scores": np.round(answer.scores.double().numpy(), 7).tolist()}
    values["labels"] = answer.labels.tolist()
    for name in ("boxes", "keypoints"):
        if getattr(answer, name, None) is not None:
            values[name] = np.round(getattr(answer, name).double().numpy(), 5).tolist()
    if getattr(answer, "masks", None) is not None:
        columns = np.asfortranarray(answer.masks.permute(1, 2, 0).numpy(), np.uint8)
        values["size"] = list(answer.masks.shape[1:])
        values["masks"] = [runs["counts"].decode() for runs in coco_masks.encode(columns)]
    return values


def assert_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    """`found` is `expected`, both as `plain` makes them, up to what other machines and orders of sums change."""
    assert result.keys() == expected.keys()
    assert result["labels"] == expected["labels"]
    tolerances = {"scores": SCORE_TOLERANCE, "boxes": BOX_TOLERANCE, "keypoints": KEYPOINT_TOLERANCE}
    for name, tolerance in tolerances.items():
        if name in expected:
            np.testing.assert_allclose(result[name], expected[name], rtol=0, atol=tolerance, err_msg=name)
    if "masks" in expected:
        assert result["size"] == expected["size"]
        ours, theirs = _run_lengths(result), _run_lengths(expected)
        if ours:
            assert np.diag(coco_masks.iou(ours, theirs, [0] * len(theirs))).min() >= LEAST_MASK_IOU


def _run_lengths(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"size": values["size"], "counts": counts.encode()} for counts in values["masks"]]
