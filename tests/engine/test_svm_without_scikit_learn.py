"""The SVMs of R-CNN without scikit-learn: said at once, not after a pass over all images."""

import pytest

from detkit.backbones import TorchvisionBackbone
from detkit.engine.svm import fit_svms
from detkit.errors import InputError
from detkit.models import RCNN


def test_it_is_said_before_any_image_is_read(monkeypatch):
    monkeypatch.setattr("detkit.engine.svm.find_spec", lambda name: None)
    model = RCNN(TorchvisionBackbone("squeezenet1_1", stages=[3]), 2)
    with pytest.raises(InputError, match="fit_svms needs scikit-learn, which is not installed: pip install"):
        fit_svms(model, lambda: pytest.fail("an image is read"))
