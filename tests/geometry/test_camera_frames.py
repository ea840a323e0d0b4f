"""Which matrices are cameras. How cameras move is tested with the placements that move them."""

import numpy as np
import pytest

from detkit.geometry import are_cameras

CAMERA = np.array([[90.0, 0.5, 38], [0, 80, 31], [0, 0, 1]], dtype=np.float32)
WRONG = {
    "NaN": CAMERA * np.nan,
    "infinite": np.where(CAMERA == 38, np.inf, CAMERA),
    "zeros": CAMERA * 0,
    "no focal length": CAMERA * [[0], [0], [1]],
    "a negative focal length": CAMERA * [[1], [-1], [1]],
    "transposed": CAMERA.T,
    "scaled": 2 * CAMERA,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_camera(name):
    assert are_cameras(np.stack([CAMERA, WRONG[name], CAMERA])).tolist() == [True, False, True]


def test_no_cameras():
    assert are_cameras(np.zeros((0, 3, 3))).shape == (0,)
