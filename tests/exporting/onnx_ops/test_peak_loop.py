"""The peaks of heat maps in ONNX Runtime."""

import numpy as np
import torch
from onnxruntime_op import in_onnxruntime
from torch.nn import functional as F

from detkit.heads.region.heat_maps import heat_map_peaks


def heat_maps_in_boxes(count, seed):
    """Smooth maps, whose peaks are not a matter of the last digit, in boxes from less than a pixel to many."""
    generator = torch.Generator().manual_seed(seed)
    maps = F.interpolate(torch.randn(count, 3, 4, 4, generator=generator), size=(12, 12), mode="bicubic")
    corners = torch.rand(count, 2, generator=generator) * 50
    return maps, torch.cat((corners, corners + 2 ** (torch.rand(count, 2, generator=generator) * 9 - 1)), dim=1)


def test_peaks_are_the_same(tmp_path):
    run = in_onnxruntime(heat_map_peaks, heat_maps_in_boxes(4, 0), tmp_path)
    for count in (0, 1, 40):
        arguments = heat_maps_in_boxes(count, count)
        np.testing.assert_allclose(run(*arguments)[0], heat_map_peaks(*arguments).numpy(), atol=1e-4)
