"""RoIAlign and RoIPool in ONNX Runtime: the same crops as detkit's kernels."""

import numpy as np
import pytest
import torch
from onnxruntime_op import in_onnxruntime
from random_regions import random_map, random_rois

from detkit.ops import multilevel_roi_align, roi_align, roi_pool

SCALES = [1 / 4, 1 / 8, 1 / 16]


def pyramid(images, height, width):
    return [random_map(images, 5, height >> level, width >> level, seed=level) for level in range(len(SCALES))]


def crops(maps, rois):
    return (
        multilevel_roi_align(maps, rois, (7, 5), SCALES, 0, True, 56, 3),
        multilevel_roi_align(maps, rois, 4, SCALES, -1, False, 56, 3),
        multilevel_roi_align(maps, rois, 3, SCALES, 2, True, 56, 3),
        roi_align(maps[0], rois, 4, 1 / 4, sampling_ratio=3),
        roi_pool(maps[0], rois, (3, 6), 1 / 4),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    arguments = pyramid(3, 32, 48), random_rois(9, 3, 128, 0)
    return in_onnxruntime(crops, arguments, tmp_path_factory.mktemp("crops"), axes=(0, 2, 3))


@pytest.mark.parametrize(
    ("count", "images", "height", "width"), [(0, 1, 32, 48), (1, 1, 64, 32), (9, 3, 32, 48), (150, 2, 96, 96)]
)
def test_crops_are_the_same(run, count, images, height, width):
    maps, rois = pyramid(images, height, width), with_edge_cases(random_rois(count, images, 4 * width, count))
    for output, (ours, theirs) in enumerate(zip(crops(maps, rois), run(maps, rois), strict=True)):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5, err_msg=f"output {output}")


def with_edge_cases(rois):
    """Some of the regions on the border of two levels, some without size, inverted or not finite."""
    rois[1::7, 3:] = rois[1::7, 1:3] + 56
    rois[2::14, 3:] = rois[2::14, 1:3] + 112
    rois[3::14, 3:] = rois[3::14, 1:3]
    rois[4::14, 3:] = rois[4::14, 1:3] - 5
    rois[5::28, 3] = torch.nan
    rois[6::28, 1] = torch.nan
    return rois
