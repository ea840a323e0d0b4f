"""The names by which type checkers tell what an import returns are those that are imported."""

from typing import get_args

from detkit.weights import detectron2_weights, torchvision_pixel, torchvision_weights


def test_torchvisions_are_all_there():
    assert get_args(torchvision_weights.DetectorName) == tuple(torchvision_weights.BUILDERS)
    assert get_args(torchvision_pixel.SegmentationName) == tuple(torchvision_pixel.BUILDERS)


def test_detectron2s_with_masks_are_all_there():
    masks = {name for name in detectron2_weights.NAMES if name.startswith("mask_")}
    assert set(get_args(detectron2_weights.MaskName)) == masks
