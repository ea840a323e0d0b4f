"""ONNX Runtime, fed by numpy as docs/export.md shows, finds what `model.predict` finds."""

from functools import partial

import numpy as np
import pytest
import torch
from darknet_cfgs import Cfg
from numpy_reader import predict
from spread_scores import spread

from detkit.backbones import (
    CSPDarknet53,
    Darknet19,
    Darknet53,
    TappedMobileNet,
    TimmBackbone,
    YOLOv1Backbone,
)
from detkit.data import ShapesOptions, draw_shapes
from detkit.exporting.export_file import export_file
from detkit.heads import NMS, FCOSHead, LocalizationHead, OverFeatHead, RetinaNetHead, SoftNMS, SSDHead, YOLOv1Head
from detkit.images import read_image
from detkit.models import (
    FCOS,
    SSD,
    Classifier,
    Localizer,
    OverFeat,
    RetinaNet,
    SSDlite,
    YOLOv1,
    YOLOv2,
    YOLOv3,
    YOLOv4,
)
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, SmoothShortestEdge, Square, Stretch
from detkit.weights.darknet.models import DarknetDetector
from detkit.weights.darknet.network import Darknet

onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install detkit[onnx]")
pytest.importorskip("onnxscript", reason="needs onnxscript: pip install detkit[onnx]")

THIN = partial(FPN, out_channels=8, extra_levels=StridedConvolutions)
SMALL = partial(TimmBackbone, "test_resnet", stages=[3, 4])
MODELS = {
    "fcos": lambda: FCOS(SMALL(), 3, THIN, partial(FCOSHead, convolutions=1), ShortestEdge(100, 160)),
    "retinanet": lambda: RetinaNet(
        SMALL(), 3, THIN, partial(RetinaNetHead, convolutions=1), SmoothShortestEdge(100, 160)
    ),
    "ssd": lambda: SSD(SMALL(), 3, preprocess=Square(96)),
    "ssd with linear Soft-NMS": lambda: SSD(
        SMALL(), 3, head=partial(SSDHead, postprocess=SoftNMS()), preprocess=Square(96)
    ),
    # Of the next boxes two have equal scores, which runtimes order in ways of their own.
    "retinanet with Gaussian Soft-NMS": lambda: RetinaNet(
        SMALL(), 3, THIN, partial(RetinaNetHead, convolutions=1, postprocess=SoftNMS(detections=30, method="gaussian")),
        Letterbox((96, 160)),
    ),
    "darknet's own": lambda: DarknetDetector(Darknet(darknet_cfg()), score_threshold=0.3),
    "ssdlite": lambda: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(96)),
    "yolo_v1": lambda: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8), Stretch((128, 128))),
    "yolo_v2": lambda: YOLOv2(Darknet19(0.05), 3, preprocess=OriginalSize(divisor=32)),
    "yolo_v3": lambda: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "yolo_v4": lambda: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((96, 64))),
    "overfeat": lambda: OverFeat(
        SMALL(), 3, [1.0, 0.5],
        partial(OverFeatHead, pool=1, window=3, class_hidden=[8], box_hidden=[8], postprocess=NMS(candidates=300)),
        ShortestEdge(100, 160),
    ),
    "classifier": lambda: Classifier(SMALL(), 3, preprocess=CenterCrop((64, 64), 73)),
    "localizer": lambda: Localizer(SMALL(), 3, partial(LocalizationHead, hidden=8), Stretch((64, 64))),
}  # fmt: skip


def darknet_cfg():
    cfg = Cfg(96, 64)
    for filters in (8, 16, 16):
        cfg.conv(filters, stride=2)
    cfg.yolo("0,1,2", "9,12, 18,14, 33,36", 3, scale_x_y=1.1)
    return str(cfg)


QUICK = ("darknet's own", "classifier")  # and FCOS in test_numpy_example.py


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MODELS]
)
def exported(request, tmp_path_factory):
    """A model and ONNX Runtime's session of its file."""
    torch.manual_seed(0)
    model = spread(MODELS[request.param]().eval(), [torch.rand(3, 90, 120)])
    path = tmp_path_factory.mktemp("exported") / f"{request.param}.onnx"
    export_file(model, path)
    return model, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Drawn images of three sizes, as arrays."""
    folder = draw_shapes(tmp_path_factory.mktemp("scenes") / "shapes", ShapesOptions({"train": 3}, (64, 150)))
    return [read_image(path) for path in sorted((folder / "images" / "train").iterdir())]


@pytest.mark.parametrize("count", [1, 3])
def test_it_finds_what_the_model_finds(exported, scenes, count):
    _assert_same_answers(*exported, scenes[:count])


def test_it_finds_the_same_in_photographs(exported, shared):
    model, session = exported
    photographs = [*sorted(shared.glob("data/bccd/**/*.jpg"))[:2], *sorted(shared.glob("data/nuclei/**/*.png"))[:1]]
    if len(photographs) < 3:
        pytest.skip(f"no photographs of blood cells and nuclei below {shared}")
    _assert_same_answers(model, session, [read_image(path) for path in photographs])


@pytest.mark.slow
def test_images_without_objects(scenes, tmp_path):
    model = DarknetDetector(Darknet(darknet_cfg()), score_threshold=1.0).eval()
    export_file(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [len(boxes) for boxes, *_ in predict(session, scenes)] == [0, 0, 0]


def _assert_same_answers(model, session, images):
    found = predict(session, images, cut=not isinstance(model, DarknetDetector))
    answers = model.predict(images)
    if isinstance(model, Classifier):
        for probabilities, answer in zip(found, answers, strict=True):
            torch.testing.assert_close(torch.from_numpy(probabilities)[answer.labels], answer.scores, atol=1e-4, rtol=0)
        return
    assert sum(len(answer) for answer in answers) > len(images)
    for image, (boxes, scores, labels), answer in zip(images, found, answers, strict=True):
        assert len(boxes) == len(answer)
        _assert_same(boxes, scores, labels, answer, max(image.shape))


def _assert_same(boxes, scores, labels, answer, side):
    """Each detection has one of its own in `answer`: of its label, its score to 1e-4, its box to 1e-5 of the image."""
    apart = np.abs(answer.boxes.numpy()[None] - boxes[:, None]).max(axis=2)
    alike = (answer.labels.numpy() == labels[:, None]) & (np.abs(answer.scores.numpy() - scores[:, None]) < 1e-4)
    alike &= apart < max(1e-3, 1e-5 * side)
    for row, candidates in enumerate(alike):
        assert candidates.any(), f"no detection like {boxes[row]} {scores[row]} {labels[row]}"
        alike[:, candidates.argmax()] = False
