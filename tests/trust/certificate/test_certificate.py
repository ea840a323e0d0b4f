"""Certificates: of true exports, and of files in which a fault was planted, which they name."""

import dataclasses

import numpy as np
import pytest
import test_two_stage as two_stage
import torch
from certifying import Planted, certified, changes_of, finder_with
from darknet_cfgs import Cfg
from spread_scores import spread

from detkit.backbones import Darknet53, TimmBackbone
from detkit.data import ShapesOptions, draw_shapes
from detkit.exporting.export_file import export_file
from detkit.exporting.runtimes import open_exported
from detkit.images import read_image, to_tensor
from detkit.models import Classifier, YOLOv3
from detkit.preprocess import CenterCrop, Letterbox
from detkit.structures import Category, Detections, WeightsSource
from detkit.tasks import Classification
from detkit.trust.certificate import Certificate
from detkit.trust.certificate.file_answers import FileAnswers
from detkit.trust.certificate.parting import PartingFinder
from detkit.weights.darknet.models import DarknetDetector
from detkit.weights.darknet.network import Darknet

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package}: pip install detkit[onnx]")

CLASSES = ["cat", "dog", "cow"]
MODELS = {
    "classifier": lambda: Classifier(
        TimmBackbone("test_resnet", stages=[4]), 3, preprocess=CenterCrop((64, 64), 73)
    ),
    "yolo": lambda: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "darknet's own": lambda: DarknetDetector(Darknet(darknet_cfg()), score_threshold=0.3),
}  # fmt: skip


def darknet_cfg():
    cfg = Cfg(96, 64)
    for filters in (8, 16, 16):
        cfg.conv(filters, stride=2)
    cfg.yolo("0,1,2", "9,12, 48,34, 63,96", 3, scale_x_y=1.1)
    return str(cfg)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Drawn images of several sizes."""
    folder = draw_shapes(tmp_path_factory.mktemp("scenes") / "shapes", ShapesOptions({"train": 4}, (64, 150)))
    return [to_tensor(read_image(path)) for path in sorted((folder / "images" / "train").iterdir())]


def prepared(name, images, folder):
    """A model, its ONNX file, and what finds nodes."""
    torch.manual_seed(0)
    model = spread(MODELS[name]().eval(), images[:1])
    model.categories = [Category(index, one) for index, one in enumerate(CLASSES)]
    model.provenance = (WeightsSource("of mine", "https://example.org", "MIT"),)
    recorded = export_file(model, folder / "m.onnx")
    return model, folder / "m.onnx", finder_with(model, recorded)


@pytest.fixture(scope="module")
def classifier(images, tmp_path_factory):
    return prepared("classifier", images, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def yolo(images, tmp_path_factory):
    return prepared("yolo", images, tmp_path_factory.mktemp("yolo"))


class TestClassifier:
    @pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".ts", ".xml"])
    def test_a_true_export_is_certified(self, classifier, images, suffix):
        model, path, _ = classifier
        if suffix == ".xml":
            openvino = pytest.importorskip("openvino", reason="needs openvino: pip install detkit[openvino]")
            openvino.save_model(openvino.convert_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
        elif suffix != ".onnx":
            export_file(model, path.with_suffix(suffix))
        certificate = certified(path.with_suffix(suffix), model, images)
        assert certificate.verdict == (
            "certified: its answers to 4 images are those of the checkpoint up to rounding in float32."
        )
        assert certificate.faults == []
        noted = [one.sentence for one in certificate.findings]
        assert [any("are not compared" in one for one in noted)] == [suffix in (".ts", ".xml")]

    @pytest.mark.parametrize(
        ("key", "change", "subject", "words"),
        [
            ("classes", lambda one: one[::-1], "classes", "label 0 is 'cow' in the file, 'cat' in the checkpoint"),
            ("classes", lambda one: one[:2], "classes", "names 2 classes, the checkpoint has 3"),
            ("preprocess", lambda one: one | {"shorter_side": 64}, "preprocessing", "shorter_side is 64 in the file"),
            ("preprocess", lambda one: one | {"kind": "Mine"}, "preprocessing", "kind is Mine in the file, CenterCrop"),
            ("license", lambda one: ["Apache-2.0"], "license", "the file says ['Apache-2.0'], the checkpoint ['MIT']"),
            ("outputs", lambda one: {"scores": ""}, "outputs", "says scores, but gives probabilities"),
        ],
    )  # fmt: skip
    def test_a_wrong_fact_is_named(self, classifier, images, key, change, subject, words):
        model, path, finder = classifier
        certificate = certified(Planted(path).fact(key, change), model, images, finder)
        assert not certificate.is_certified
        assert any(one.subject == subject and words in one.sentence for one in certificate.faults)

    def test_a_changed_weight_is_the_first_node_that_differs(self, classifier, images):
        model, path, finder = classifier

        def change(weight):
            weight[0, 0] += 1
            return weight

        certificate = certified(Planted(path).constant("head.classes.weight", change), model, images, finder)
        node = certificate.parting.node
        assert (node.operation, node.module) == ("Gemm", "head.classes")
        assert any("differs in 1 of" in one and "by up to 1" in one for one in changes_of(certificate))

    def test_a_change_without_effect_on_the_answers_is_named(self, classifier, images):
        model, path, finder = classifier

        def change(weight):
            weight[0, 0] += 1e-5
            return weight

        certificate = certified(Planted(path).constant("head.classes.weight", change), model, images, finder)
        assert certificate.agrees
        assert not certificate.is_certified
        assert any("differs in 1 of" in one for one in changes_of(certificate))

    def test_a_file_for_two_images_alone_is_compared(self, classifier, images):
        model, path, finder = classifier
        certificate = certified(Planted(path).of_images(2), model, images, finder)
        assert certificate.is_certified, certificate.reasons
        assert any("takes 2 images at once" in one.sentence for one in certificate.findings)

    def test_swapped_channels_are_named(self, classifier, images):
        model, path, finder = classifier
        certificate = certified(Planted(path).before_inputs("Gather", [2, 1, 0], axis=1), model, images, finder)
        assert any("if it gets BGR in place of RGB" in one.sentence for one in certificate.faults)
        assert certificate.parting.node.inputs == ("changed by Gather",)

    def test_the_node_of_a_torch_program(self, classifier, images):
        model, path, finder = classifier
        before = model.preprocess.mean.clone()
        model.preprocess.mean += 0.1
        export_file(model, path.with_suffix(".pt2"))
        model.preprocess.mean.copy_(before)
        certificate = certified(path.with_suffix(".pt2"), model, images, finder)
        assert certificate.parting.node.name == "sub"
        assert any("preprocess.mean differs in 3 of 3 numbers" in one for one in changes_of(certificate))


@pytest.mark.slow
class TestDetector:
    def test_a_true_export_is_certified(self, yolo, images):
        certificate = certified(yolo[1], yolo[0], images, yolo[2])
        assert certificate.is_certified
        assert certificate.differences.counts["pairs"] > 100

    @pytest.mark.parametrize(
        ("change", "operation", "words"),
        [
            (lambda file: file.input_of("NonMaxSuppression", 3, np.float32([0.9])), "NonMaxSuppression", "of 0.45"),
            (lambda file: file.input_of("Greater", 1, np.float32(0.42)), "Greater", "0.42 in place of 0.005"),
            (lambda file: file.behind("boxes", "Add", np.float32([4, 0, 4, 0])), "Add", "boxes comes by planted_node"),
            (lambda file: file.behind("labels", "Gather", [1, 0, 2, -1], swapped=True), "Gather", "labels comes by"),
            (lambda file: file.constant("preprocess.mean", lambda one: one + 0.2), "Sub", "preprocess.mean"),
        ],
        ids=["suppression", "threshold", "shift", "classes", "normalization"],
    )  # fmt: skip
    def test_a_planted_fault_is_named(self, yolo, images, change, operation, words):
        model, path, finder = yolo
        certificate = certified(change(Planted(path)), model, images, finder)
        assert not certificate.is_certified
        assert certificate.parting.node.operation == operation
        assert any(words in one for one in changes_of(certificate)), certificate.findings

    @pytest.mark.parametrize("suffix", [".pt2", ".ts"])
    def test_files_for_torch_are_certified(self, yolo, images, suffix):
        model, path, finder = yolo
        export_file(model, path.with_suffix(suffix))
        certificate = certified(path.with_suffix(suffix), model, images, finder)
        assert certificate.is_certified, certificate.reasons

    def test_one_flip_of_suppression_in_a_trial_is_no_fault_in_float16(self, yolo, images, monkeypatch):
        model, path, finder = yolo
        half = path.with_stem("half")
        export_file(model, half, float16=True)
        assert not [one for one in certified(half, model, images, finder).faults if one.subject == "input"]

        def shortened(self, inputs, answers=FileAnswers.answers):
            given = answers(self, inputs)
            return (
                given
                if len(given) > 1
                else [Detections(one.boxes[:5], one.scores[:5], one.labels[:5]) for one in given]
            )

        monkeypatch.setattr(FileAnswers, "answers", shortened)
        faults = certified(half, model, images, finder).faults
        assert "its answers differ for one image alone" in [one.sentence for one in faults]

    def test_the_heads_alone_are_certified(self, yolo, images):
        export_file(yolo[0], yolo[1].with_name("raw.pt2"), raw=True)
        certificate = certified(yolo[1].with_name("raw.pt2"), yolo[0], images)
        assert certificate.is_certified, certificate.reasons


def test_boxes_over_the_border_of_a_darknet_network_are_certified(images, tmp_path):
    model, path, finder = prepared("darknet's own", images, tmp_path)
    height, width = images[0].shape[1:]
    boxes = model.predict(images[0]).boxes
    assert bool((boxes[:, 2] > width).any())
    assert bool((boxes[:, 3] > height).any())
    certificate = certified(path, model, images, finder)
    assert certificate.is_certified, certificate.reasons
    assert certificate.differences.predictions > len(boxes)


@pytest.mark.slow
def test_masks_and_keypoints_are_certified_and_a_shift_of_points_is_named(tmp_path):
    model, scenes, _ = two_stage.with_images(two_stage.model_of("masks and keypoints"))
    model.categories = [Category(index, one) for index, one in enumerate(CLASSES)]
    export_file(model, tmp_path / "m.onnx")
    finder = PartingFinder(model)
    certificate = certified(tmp_path / "m.onnx", model, scenes, finder)
    assert certificate.is_certified, certificate.reasons
    assert {"masks", "keypoints", "keypoint logits"} <= {one.output for one in certificate.differences.largest}
    shifted = Planted(tmp_path / "m.onnx").behind("keypoints", "Add", np.float32([3, 0, 0]))
    certificate = certified(shifted, model, scenes, finder)
    largest = {one.output: one for one in certificate.differences.largest}
    assert largest["keypoints"].size > 10 * largest["keypoints"].limit
    assert certificate.parting.node.value == "keypoints"


def test_a_file_of_lower_precision_is_judged_by_its_numbers(classifier):
    file = open_exported(classifier[1])
    file.precision = "int8"
    differences = Classification().differences(classifier[0].categories).result()
    none = Certificate(file, (), differences)
    assert none.reasons == ["no image was compared"]
    some = dataclasses.replace(none, differences=dataclasses.replace(differences, images=9, predictions=9))
    assert some.reasons == ["nothing was measured"]


def test_answers_in_which_nothing_is_found_certify_nothing(classifier):
    differences = dataclasses.replace(Classification().differences(classifier[0].categories).result(), images=9)
    certificate = Certificate(open_exported(classifier[1]), (), differences)
    assert certificate.reasons == ["neither finds anything in these images, which proves nothing"]
