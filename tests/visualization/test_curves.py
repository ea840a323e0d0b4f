"""The curves of a training, however the log of it looks."""

import cv2
import pytest

from detkit.errors import InputError
from detkit.visualization import plot_curves

CURVES = """epoch,step,lr,train/loss,train/rpn_cls,val/AP,val/AP50,val/loss
0,9,0.1,3.0,1.0,,,
0,19,0.1,2.0,,,,
0,19,,,,0.1,0.3,2.5
1,29,0.1,nan,0.5,,,
1,39,,,,0.2,-1,1.5
"""


@pytest.mark.parametrize(
    "text",
    [CURVES, "", "epoch,step\n", "epoch,step\n0,1\n", "val/AP\n0.5\n", "step,val/AP\n5,-1\n", "train/loss\nabc\n"],
    ids=["sparse", "empty", "header", "no curves", "no steps", "nothing measured", "words"],
)
def test_plot_curves(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_plot_curves_of_nothing(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.csv does not exist"):
        plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
