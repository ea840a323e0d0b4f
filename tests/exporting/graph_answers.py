"""The outputs of an exported graph as answers in pixels of the given images, to compare with those of `predict`."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.models import VisionModel
from detkit.ops import paste_masks
from detkit.structures import Detections


def graph_inputs(model: VisionModel, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """What a graph takes: pixels that are resized and padded but not normalized, and the sizes of the images."""
    batch = model.preprocess(images)
    return {"images": batch.images * model.preprocess.std + model.preprocess.mean, "sizes": torch.tensor(batch.sizes)}


def assert_same_answers(
    outputs: Mapping[str, Tensor | np.ndarray],
    expected: Sequence[Detections],
    model: VisionModel,
    images: Sequence[Tensor],
) -> None:
    """Assert that a graph detected what the model did: as many, as sure, of the same classes and places."""
    placements = model.preprocess(images).placements
    outputs = {name: torch.as_tensor(values) for name, values in outputs.items()}
    assert outputs["count"].tolist() == [len(one) for one in expected]
    for index, (one, placement) in enumerate(zip(expected, placements, strict=True)):
        count, back = len(one), placement.inverse()
        own = {name: values[index] for name, values in outputs.items() if name != "count"}
        assert own["labels"][:count].tolist() == one.labels.tolist()
        assert (own["labels"][count:] == -1).all()
        assert (own["scores"][count:] == 0).all()
        torch.testing.assert_close(own["scores"][:count], one.scores, atol=1e-4, rtol=0)
        largest = max(placement.given_size)
        torch.testing.assert_close(back.boxes(own["boxes"][:count]), one.boxes, atol=1e-3 * largest, rtol=0)
        if one.keypoints is not None:
            points = back.points(own["keypoints"][:count, :, :2])
            torch.testing.assert_close(points, one.keypoints[..., :2], atol=1e-3 * largest, rtol=0)
            torch.testing.assert_close(own["keypoints"][:count, :, 2], one.keypoints[..., 2], atol=1e-3, rtol=0)
        if one.voxels is not None:
            torch.testing.assert_close(own["voxels"][:count], one.voxels, atol=1e-3, rtol=0)
            assert not own["voxels"][count:].any()
            _assert_same_depths(own["depths"], one)
        if one.masks is not None:
            pasted = paste_masks(own["masks"][:count], one.boxes, placement.given_size)
            assert (pasted != one.masks).sum() <= 1e-3 * one.masks.sum()  # a boundary may round


def _assert_same_depths(pixels: Tensor, expected: Detections) -> None:
    """Those of a graph give the depths of the meshes, where a prediction has cubified all cells."""
    assert expected.meshes is not None
    assert (pixels[: len(expected)] > 0).all()
    assert not pixels[len(expected) :].any()
