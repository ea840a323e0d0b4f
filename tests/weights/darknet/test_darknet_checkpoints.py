"""A darknet detector in a checkpoint of detkit: it comes back as it is, with the settings that were chosen."""

import darknet_cfgs as cfgs
import pytest
import torch

import detkit
from detkit.engine.checkpoint import save_model
from detkit.errors import InputError
from detkit.preprocess import Letterbox, Stretch
from detkit.weights import from_darknet

IMAGE = torch.rand(3, 30, 60, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def files(saved):
    cfg = cfgs.Cfg(40, 32)
    cfg.add("convolutional", filters=18, size=1, activation="linear")
    cfg.add("yolo", mask="0,1", anchors="4,5, 10,8, 20,16", classes=4, num=3)
    return saved(cfg)


def _detections(model):
    with torch.no_grad():
        return model([IMAGE])[0]


def test_settings_of_the_constructor_come_back(files, tmp_path):
    model = from_darknet(
        files.with_suffix(".cfg"), files.with_suffix(".weights"), score_threshold=0.3, preprocess=Stretch((32, 40))
    )
    save_model(model, None, tmp_path / "yolo.ckpt")
    loaded = detkit.load(tmp_path / "yolo.ckpt")
    assert type(loaded.preprocess) is Stretch
    assert loaded.score_threshold == 0.3
    ours, theirs = _detections(model), _detections(loaded)
    assert len(ours) > 0
    assert torch.equal(ours.boxes, theirs.boxes)
    assert len(ours) < len(_detections(from_darknet(files.with_suffix(".cfg"), files.with_suffix(".weights"))))


def test_settings_that_were_changed_later_come_back(files, tmp_path):
    model = from_darknet(files.with_suffix(".cfg"), files.with_suffix(".weights"))
    assert type(model.preprocess) is Letterbox
    model.preprocess, model.score_threshold, model.nms_threshold = Stretch((32, 40)), 0.2, 0.6
    save_model(model, None, tmp_path / "yolo.ckpt")
    loaded = detkit.load(tmp_path / "yolo.ckpt")
    assert torch.equal(_detections(loaded).scores, _detections(model).scores)


def test_a_config_that_does_not_say_so_is_refused(files, tmp_path):
    model = from_darknet(files.with_suffix(".cfg"), files.with_suffix(".weights"))
    recipe = model.recipe()
    model.score_threshold = 0.3
    with pytest.raises(InputError, match=r"DarknetDetector\.score_threshold is 0\.3, but the config builds 0\.005"):
        save_model(model, recipe, tmp_path / "yolo.ckpt")


def test_a_classifier_has_no_threshold(saved):
    cfg = cfgs.Cfg(8, 8)
    cfg.add("avgpool")
    cfg.add("softmax")
    with pytest.raises(InputError, match="which does not have score_threshold"):
        from_darknet(saved(cfg).with_suffix(".cfg"), score_threshold=0.3)
