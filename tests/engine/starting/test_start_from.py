"""The weights that a run begins with: checkpoints and files of other libraries, whose classes may be others."""

import pytest
import torch
import torchvision
from recipes import FASTER_RCNN
from torch import nn

from detkit.engine.checkpoint import build_model, save_model
from detkit.engine.starting.start_from import start_from
from detkit.errors import InputError
from detkit.models import with_classes
from detkit.structures import Category
from detkit.weights import from_torchvision

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"


def _categories(names):
    return [Category(index, name) for index, name in enumerate(names)]


def _faster_rcnn(names, **changed):
    config = {**FASTER_RCNN, "init_args": {**FASTER_RCNN["init_args"], "num_classes": len(names), **changed}}
    model = build_model(config, [], "config")
    model.categories = _categories(names)
    return model, config


@pytest.fixture(scope="module")
def torchvision_detector():
    """With random weights, whose scores are far from each other."""
    torch.manual_seed(0)
    model = torchvision.models.detection.__dict__[NAME](weights=None, weights_backbone=None, num_classes=4)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.backbone.train()(torch.rand(2, 3, 160, 224, generator=generator))  # maps of the size of 1
        model.roi_heads.box_predictor.cls_score.weight.normal_(std=0.002, generator=generator)
        model.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.001, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def torchvision_file(torchvision_detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "detector.pth"
    torch.save(torchvision_detector.state_dict(), path)
    return path


@pytest.fixture
def other_detector(torchvision_detector):
    """detkit's of the same architecture, with other weights."""
    given = torchvision_detector.state_dict()
    state = {name: value + 0.01 if value.is_floating_point() else value for name, value in given.items()}
    return from_torchvision(NAME, state)


def test_a_detector_of_torchvision_with_the_same_classes_detects_the_same(
    torchvision_detector, torchvision_file, other_detector
):
    other_detector.categories = _categories("abc")
    report = start_from(other_detector, f"torchvision:{NAME},{torchvision_file}")
    assert report.missing == report.mismatched == report.unused == []
    image = torch.rand(3, 120, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = torchvision_detector([image])[0]
    detections = other_detector.eval()([image])[0]
    assert len(detections.labels) > 5
    torch.testing.assert_close(detections.boxes, expected["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(detections.scores, expected["scores"], rtol=0, atol=1e-4)
    assert torch.equal(detections.labels + 1, expected["labels"])


def test_with_other_classes_features_and_proposals_are_the_same_and_no_row_of_a_class(
    torchvision_detector, torchvision_file, other_detector
):
    model = with_classes(other_detector, ["x", "y"])
    rows = model.box_head.classes.weight.detach().clone(), model.box_head.deltas.weight.detach().clone()
    report = start_from(model, f"torchvision:{NAME},{torchvision_file}")
    given = from_torchvision(NAME, torchvision_detector.state_dict())
    images = torch.rand(1, 3, 96, 128)
    for own, expected in zip(model.eval().raw(images)[1], given.eval().raw(images)[1], strict=True):
        torch.testing.assert_close(own, expected)
    assert torch.equal(model.box_head.classes.weight[:2], rows[0][:2])
    assert torch.equal(model.box_head.deltas.weight, rows[1])
    background = torchvision_detector.roi_heads.box_predictor.cls_score.weight[0]
    assert torch.equal(model.box_head.classes.weight[2], background)
    assert report.names["classes"].new == ["x", "y"]


def test_a_file_of_a_network_for_segmentation_has_the_published_classes(tmp_path):
    name, path = "lraspp_mobilenet_v3_large", tmp_path / "net.pth"
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    torch.save(net.state_dict(), path)
    model = with_classes(from_torchvision(name, net.state_dict()), ["cat", "background"])
    start_from(model, f"torchvision:{name},{path}")
    assert torch.equal(model.head.low_classes.weight, net.classifier.low_classifier.weight[[8, 0]])


class TestACheckpoint:
    @pytest.fixture
    def saved(self, tmp_path):
        torch.manual_seed(0)
        model, config = _faster_rcnn("abc")
        save_model(model, config, tmp_path / "abc.ckpt")
        return model, str(tmp_path / "abc.ckpt")

    def test_names_decide_where_the_shapes_are_the_same(self, saved):
        given, path = saved
        model, _ = _faster_rcnn("xca")
        before = model.box_head.classes.weight.detach().clone()
        report = start_from(model, path)
        after = model.box_head.classes.weight
        assert torch.equal(after[[1, 2, 3]], given.box_head.classes.weight[[2, 0, 3]])
        assert torch.equal(after[0], before[0])
        assert torch.equal(model.box_head.deltas.bias[4:8], given.box_head.deltas.bias[8:12])
        assert (report.names["classes"].kept, report.names["classes"].new) == (["c", "a"], ["x"])
        assert "classes that are new, their rows as initialized: x" in str(report)

    def test_of_the_same_classes_is_taken_whole(self, saved):
        given, path = saved
        model, _ = _faster_rcnn("abc")
        report = start_from(model, path)
        assert all(torch.equal(value, given.state_dict()[name]) for name, value in model.state_dict().items())
        assert report.is_complete
        assert report.parameters[0] == report.parameters[1]

    def test_without_names_of_classes_rows_are_taken_by_their_number(self, tmp_path, caplog):
        given, config = _faster_rcnn("abc")
        given.categories = None
        save_model(given, config, tmp_path / "unnamed.ckpt")
        model, _ = _faster_rcnn("xyz")
        start_from(model, str(tmp_path / "unnamed.ckpt"))
        assert torch.equal(model.box_head.classes.weight, given.box_head.classes.weight)
        assert "the names of its classes are not known: the 3 rows are taken by their number" in caplog.text

    def test_other_anchors_and_statistics_of_pixels_are_reported(self, saved):
        _, path = saved
        preprocess = {"class_path": "detkit.preprocess.ShortestEdge", "init_args": {"mean": [0.5, 0.5, 0.5]}}
        report = start_from(_faster_rcnn("abc", preprocess=preprocess)[0], path)
        assert "preprocess.mean is (0.485, 0.456, 0.406) in the source, (0.5, 0.5, 0.5) in this model" in str(report)
        assert not report.is_complete

    def test_random_numbers_go_on_as_without(self, saved):
        model, _ = _faster_rcnn("abd")
        torch.manual_seed(5)
        expected = torch.rand(())
        torch.manual_seed(5)
        start_from(model, saved[1])
        assert torch.rand(()) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torchvison:a", r"of no known kind \(is torchvision meant\?\): give a checkpoint, the folder of a run, torch"),
        ("hub:a/b", "of no known kind: give a checkpoint"),
        ("torchvision:", "is not written as torchvision:NAME or torchvision:NAME,FILE"),
        ("torchvision:unknown,weights.pth", "weights.pth"),
        ("detectron2:faster_rcnn_R_50_C4_1x", "is not written as detectron2:NAME,FILE"),
        ("darknet:a.cfg", "is not written as darknet:CFG,WEIGHTS"),
        ("gone.ckpt", "gone.ckpt"),
    ],
)
def test_a_wrong_source_is_one_sentence(source, message):
    with pytest.raises(InputError, match=message):
        start_from(_faster_rcnn("abc")[0], source)
