"""The camera of one focal length, in whose image the optical axis is in the middle."""

import math

import pytest
import torch

from detkit.errors import InputError
from detkit.geometry import central_camera


def test_sees_the_axis_in_the_middle_and_the_border_under_half_the_field_of_view():
    camera = central_camera((30, 40), 25.0)
    axis = camera @ torch.tensor([0.0, 0, 7])
    assert (axis / axis[2])[:2].tolist() == [20, 15]
    angle = math.atan(20 / 25)
    border = camera @ torch.tensor([math.sin(angle), 0, math.cos(angle)])
    assert float(border[0] / border[2]) == pytest.approx(40, abs=1e-4)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_focal_lengths_are_positive(wrong):
    with pytest.raises(InputError, match=r"the focal length is .*; give it in pixels, more than 0"):
        central_camera((30, 40), wrong)
