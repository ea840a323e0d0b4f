"""check_evaluator takes every evaluator of detkit, and names each rule that a broken one breaks."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from detkit.data import CocoDataset, ShapesOptions, draw_shapes, find_split
from detkit.data.shapes3d import Shapes3D
from detkit.evaluation import (
    ClassificationEvaluator,
    CocoEvaluator,
    Evaluation,
    Evaluator,
    LocalizationEvaluator,
    MeshEvaluator,
    PanopticEvaluator,
    ProposalRecall,
    SemanticEvaluator,
    SingleMeshEvaluator,
    VocEvaluator,
)
from detkit.structures import Classification, Detections, Meshes, SemanticMap
from detkit.tasks import Detection
from detkit.testing import ContractError, check_evaluator


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    options = ShapesOptions({"train": 5}, (64, 96), max_objects=4, crowd_probability=0.5)
    root = draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)
    return CocoDataset(*find_split(root, "train")).reading({"masks", "keypoints"})


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    options = ShapesOptions({"train": 5}, (64, 96), max_objects=4, stuff=("grass", "sand"))
    root = draw_shapes(tmp_path_factory.mktemp("data") / "maps", options)
    return CocoDataset(*find_split(root, "train")).reading({"label_map", "panoptic_map"})


def detections(target):
    """The objects themselves."""
    one = target.objects()
    return Detections(one.boxes, torch.ones(len(one)), one.labels, one.masks, one.keypoints)


def largest(target):
    return Detections(target.boxes[:1], torch.ones(1), torch.tensor([target.image_label]))


def of_class(target):
    one = target.objects()
    return one[one.labels == target.image_label]


class TestOursPass:
    @pytest.mark.parametrize(
        "evaluator",
        [
            CocoEvaluator,
            partial(CocoEvaluator, iou_type="segm"),
            partial(CocoEvaluator, iou_type="keypoints", keypoint_sigmas=(0.1,) * 5),
            VocEvaluator,
            partial(VocEvaluator, protocol="voc2007"),
        ],
        ids=["bbox", "segm", "keypoints", "voc2010", "voc2007"],
    )
    def test_of_detections(self, shapes, evaluator):
        check_evaluator(evaluator, shapes, detections, Detections.empty())

    @pytest.mark.parametrize("evaluator", [SemanticEvaluator, partial(SemanticEvaluator, boundary_iou=True)])
    def test_of_label_maps(self, maps, evaluator):
        nothing = SemanticMap(torch.full((64, 96), 255, dtype=torch.uint8))
        check_evaluator(evaluator, maps, lambda target: SemanticMap(target.label_map), nothing)

    def test_of_panoptic_maps(self, maps):
        def perfect(target):
            return SimpleNamespace(panoptic_map=target.panoptic_map)

        nothing = SimpleNamespace(panoptic_map=torch.full((64, 96), -1, dtype=torch.int32))
        check_evaluator(PanopticEvaluator, maps, perfect, nothing)

    def test_of_meshes_of_detections(self):
        solids = Shapes3D("val", counts={"val": 4}, image_size=(64, 64)).reading({"masks", "meshes", "camera"})
        check_evaluator(partial(MeshEvaluator, samples=1000), solids, Detection().truth, Detections.empty())

    @pytest.mark.parametrize("protocol", ["meshrcnn", "pixel2mesh"])
    def test_of_single_meshes(self, protocol):
        solids = Shapes3D("val", counts={"val": 4}, image_size=(64, 64), max_objects=1).reading({"meshes"})
        evaluator = partial(SingleMeshEvaluator, samples=1000, protocol=protocol)
        nothing = SimpleNamespace(meshes=Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3, dtype=torch.int64)]))
        check_evaluator(evaluator, solids, lambda target: SimpleNamespace(meshes=target.meshes), nothing)

    def test_of_proposals(self, shapes):
        check_evaluator(ProposalRecall, shapes, lambda target: target.objects().boxes, torch.zeros(0, 4))

    def test_of_whole_images(self, shapes):
        labeled = shapes.with_image_labels("largest")
        nothing = Classification(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        check_evaluator(
            ClassificationEvaluator,
            labeled,
            lambda target: Classification(torch.ones(1), torch.tensor([target.image_label])),
            nothing,
        )

    def test_of_localization(self, shapes):
        def best(target):
            one = of_class(target)
            return Detections(one.boxes[:1], torch.ones(1), one.labels[:1])

        check_evaluator(LocalizationEvaluator, shapes.with_image_labels("largest"), best, Detections.empty())


class CountError(Evaluator):
    """What the mutants change."""

    name, reads, headline, higher_is_better = "count", "boxes", "error", False

    def keep(self, target, answer):
        return abs(len(answer) - len(target.objects()))

    def evaluate(self):
        return Evaluation({"error": sum(self.kept.values()) / max(1, len(self.kept))})


class WithoutHeadline(CountError):
    headline = ""


class OtherHeadline(CountError):
    headline = "errors"


class WrongSign(CountError):
    higher_is_better = True


class Blind(CountError):
    def evaluate(self):
        return Evaluation({"error": 1.0})


class DividesByNothing(CountError):
    def evaluate(self):
        return Evaluation({"error": sum(self.kept.values()) / len(self.kept)})


class AddsUp(CountError):
    total = 0.0

    def keep(self, target, answer):
        self.total += super().keep(target, answer)
        return 0.0

    def evaluate(self):
        return Evaluation({"error": self.total / max(1, len(self.kept))})


class ByOrder(CountError):
    def evaluate(self):
        kept = list(self.kept)
        return Evaluation({"error": sum(self.kept.values()) + float(kept != sorted(kept))})


class FirstImageAlone(CountError):
    def evaluate(self):
        return Evaluation({"error": float(next(iter(self.kept.values()), 0))})


class LastImageAlone(CountError):
    def evaluate(self):
        return Evaluation({"error": float(next(reversed(self.kept.values()), 0))})


class CountsOutsideOfState(CountError):
    """Divides by a counter that processes do not exchange."""

    def reset(self):
        super().reset()
        self.ids = set()

    def keep(self, target, answer):
        self.ids = {*getattr(self, "ids", ()), target.image_id}
        return super().keep(target, answer)

    def evaluate(self):
        return Evaluation({"error": sum(self.kept.values()) / max(1, len(getattr(self, "ids", ())))})


class CountsUpdates(CountError):
    count = 0

    def keep(self, target, answer):
        self.count += 1
        return super().keep(target, answer)

    def evaluate(self):
        return Evaluation({"error": sum(self.kept.values()) / max(1, self.count)})


class KeepsLambdas(CountError):
    def keep(self, target, answer):
        value = super().keep(target, answer)
        return lambda: value

    def evaluate(self):
        return Evaluation({"error": sum(one() for one in self.kept.values()) / max(1, len(self.kept))})


class ForgetsOnMerge(CountError):
    def state(self):
        return {}

    def evaluate(self):
        return Evaluation({"error": super().evaluate().metrics["error"] + (not self.kept)})


class Consumes(CountError):
    def evaluate(self):
        outcome = Evaluation({"error": super().evaluate().metrics["error"] + 9 * (not self.kept)})
        self.kept = {}
        return outcome


class ChangesTheTruth(CountError):
    def __init__(self, annotations, categories=None):
        super().__init__(annotations, categories)
        if isinstance(annotations, dict):
            annotations["info"] = {"seen": True}


class TensorsInTheReport(CountError):
    def report(self, evaluation, options):
        report = super().report(evaluation, options)
        report.numbers["boxes"] = torch.ones(2)
        return report


class Remembers(CountError):
    def reset(self):
        self.evaluation = None

    def evaluate(self):
        return Evaluation({"error": super().evaluate().metrics["error"] + 3 * (not self.kept)})


class WithoutCategories(CountError):
    def __init__(self, annotations):
        super().__init__(annotations)


def test_the_mutants_are_of_a_sound_one(shapes):
    check_evaluator(CountError, shapes, detections, Detections.empty())


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (WithoutHeadline, r"headline must be a name: got ''"),
        (OtherHeadline, r"headline is 'errors', which is not among its numbers \['error'\]"),
        (WrongSign, r"have the better error, .* set higher_is_better"),
        (Blind, r"error is 1 for perfect and wrong answers"),
        (DividesByNothing, r"compute raises ZeroDivisionError"),
        (AddsUp, r"an image that comes twice must count once"),
        (ByOrder, r"depend on the order or the batches"),
        (FirstImageAlone, r"depend on the order or the batches"),
        (LastImageAlone, r"depend on the order or the batches"),
        (CountsOutsideOfState, r"change where two processes share the images"),
        (CountsUpdates, r"an image that comes twice must count once"),
        (KeepsLambdas, r"pickle.dumps of the KeepsLambdas raises"),
        (ForgetsOnMerge, r"change where two processes share the images"),
        (Consumes, r"other numbers when it is called twice"),
        (ChangesTheTruth, r"changes the annotations"),
        (TensorsInTheReport, r"its numbers as JSON raises TypeError"),
        (Remembers, r"reset must forget all answers"),
        (WithoutCategories, r"take the data set's truth first, then categories"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule(shapes, mutant, words):
    with pytest.raises(ContractError, match=words):
        check_evaluator(mutant, shapes, detections, Detections.empty())
