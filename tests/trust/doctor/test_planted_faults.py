"""Faults planted in data, anchors, thresholds, class orders and precisions: the doctor names each."""

from __future__ import annotations

import json

import pytest
import torch
from patients import HEALTHY, NAMES, faster_rcnn, ssd, subject, write_data, yolo

from detkit.backbones import TimmBackbone
from detkit.data import Augmentation
from detkit.models import FCOS
from detkit.preprocess import Square
from detkit.structures import Category
from detkit.trust.doctor.anchor_check import check_anchors
from detkit.trust.doctor.data_checks import check_annotations, check_classes
from detkit.trust.doctor.pixel_check import check_pixels
from detkit.trust.doctor.round_trip.trip_checks import check_augmentation, check_round_trip
from detkit.trust.doctor.trials.network_trials import check_precision, check_random
from detkit.trust.doctor.trials.overfit_check import check_overfit

MODELS = {"yolo": yolo, "ssd": ssd, "faster_rcnn": faster_rcnn}


@pytest.fixture
def healthy(tmp_path):
    return write_data(tmp_path / "data", HEALTHY)


def _lost(finding, stage: str) -> int:
    return {one["stage"]: one["lost"] for one in finding.numbers["stages"]}.get(stage, 0)


@pytest.mark.parametrize("model", MODELS)
def test_a_healthy_recipe_comes_back_whole(healthy, model):
    for check in (check_round_trip, check_augmentation):
        finding = check(subject(healthy, MODELS[model]()))
        assert (finding.verdict, finding.notes) == ("passed", [])
        assert all(stage["bbox"] == pytest.approx(1) for stage in finding.numbers["stages"])


class TestRoundTrip:
    def test_names_objects_that_share_a_cell_and_an_anchor(self, tmp_path):
        nested = [[(20, 20, 28, 24, 0), (20, 21, 28, 24, 1), (60, 20, 28, 24, 2)]]
        finding = check_round_trip(subject(write_data(tmp_path / "data", nested), yolo()))
        assert finding.verdict == "failed"
        assert finding.numbers["lost"] == [
            {"stage": "head: assignment", "image_id": 0, "object": 0, "label": 0, "box": [20.0, 20.0, 48.0, 44.0]}
        ]
        assert "another object has their cell and anchor" in finding.notes[0]

    @pytest.mark.parametrize("model", MODELS)
    def test_names_a_crowd_that_suppression_kills(self, tmp_path, model):
        crowd = [[(4, 10, 36, 32, 0), (14, 10, 36, 32, 0), (60, 20, 24, 24, 1)]]  # an IoU of 0.57
        made = {"iou_threshold": 0.3} if model != "faster_rcnn" else {}
        detector = MODELS[model](**made)
        if model == "faster_rcnn":
            detector.box_head.postprocess.iou_threshold = 0.3
        finding = check_round_trip(subject(write_data(tmp_path / "data", crowd), detector))
        assert _lost(finding, "suppression") == 1
        assert "by an IoU of 0.57 to 0.57" in " ".join(finding.notes)
        assert "iou_threshold" in " ".join(finding.notes)

    def test_names_a_limit_of_detections(self, healthy):
        finding = check_round_trip(subject(healthy, ssd(detections=2)))
        assert (_lost(finding, "detections"), _lost(finding, "suppression")) == (2, 0)

    def test_names_a_limit_of_candidates(self, tmp_path):
        alike = [[(4, 6, 20, 20, 0), (40, 6, 20, 20, 0), (70, 30, 20, 20, 0)]]
        finding = check_round_trip(subject(write_data(tmp_path / "data", alike), ssd(candidates=2)))
        assert _lost(finding, "candidates") == 1
        assert "candidates" in finding.notes[0]

    @pytest.mark.parametrize("model", ["yolo", "ssd"])
    def test_names_a_score_threshold_that_nothing_passes(self, healthy, model):
        finding = check_round_trip(subject(healthy, MODELS[model](score_threshold=1.0)))
        assert (_lost(finding, "score threshold"), finding.verdict) == (8, "failed")
        assert "score_threshold" in finding.notes[0]

    def test_names_a_score_threshold_that_only_a_perfect_network_passes(self, healthy):
        finding = check_round_trip(subject(healthy, ssd(score_threshold=0.9)))
        assert (_lost(finding, "score threshold"), finding.verdict) == (0, "warning")
        assert "score_threshold is 0.9" in finding.notes[0]

    def test_without_any_object_has_nothing_to_recover(self, tmp_path):
        finding = check_round_trip(subject(write_data(tmp_path / "data", [[], []]), ssd()))
        assert finding.verdict == "warning"
        assert "nothing to recover" in finding.sentence

    def test_names_a_suppression_of_proposals(self, healthy):
        finding = check_round_trip(subject(healthy, faster_rcnn(detections=1)))
        assert _lost(finding, "box_head: proposals") == 5
        assert "rpn" in finding.notes[0]

    def test_names_objects_under_a_pixel(self, tmp_path):
        tiny = [[(100, 100, 5, 40, 0), (300, 200, 200, 150, 1)]]
        root = write_data(tmp_path / "data", tiny, size=(512, 768))
        finding = check_round_trip(subject(root, ssd()))  # 64 pixels wide, a twelfth
        assert _lost(finding, "resizing") == 1
        assert finding.numbers["stages"][-1]["bbox"] == pytest.approx(0.5)  # AP of one class is lost
        assert "less than a pixel" in finding.notes[0]

    def test_names_more_objects_than_the_evaluator_counts(self, tmp_path):
        grid = [[(6 * column, 6 * row, 5, 5, 0) for column in range(14) for row in range(10)]]
        finding = check_round_trip(subject(write_data(tmp_path / "data", grid), ssd()))
        assert finding.numbers["stages"][0]["bbox"] < 0.8
        assert any("Image 0 has 140 of one class" in note for note in finding.notes)

    def test_counts_boxes_that_are_left_out(self, tmp_path):
        outside = [[*HEALTHY[0], (200, 8, 20, 20, 1)], HEALTHY[1]]
        finding = check_round_trip(subject(write_data(tmp_path / "data", outside), ssd(), {"on_bad_box": "skip"}))
        assert finding.verdict != "passed"
        assert "1 annotations of" in finding.notes[0]
        assert "lost at reading" in finding.notes[0]
        assert "entry 3 of the list" in finding.notes[0]

    def test_keeps_the_model_as_it_was(self, healthy):
        model = faster_rcnn()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        own = model.box_head.postprocess
        check_round_trip(subject(healthy, model))
        assert model.box_head.postprocess is own
        assert "features" not in vars(model)
        assert not any("forward" in vars(part) for part in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class TestAugmentation:
    def test_names_objects_that_are_cut(self, healthy):
        cutting = Augmentation(horizontal_flip=0, crop=1.0, crop_size=(0.3, 0.3), min_visibility=0.9)
        finding = check_augmentation(subject(healthy, ssd(), {"augmentation": cutting}))
        assert finding.verdict != "passed"
        assert f"{finding.numbers['cut']} of 8 objects" in finding.notes[0]
        assert finding.numbers["cut"] >= 4

    def test_counts_nothing_where_nothing_is_cut(self, healthy):
        finding = check_augmentation(subject(healthy, ssd(), {"augmentation": Augmentation()}))
        assert (finding.numbers["cut"], finding.verdict) == (0, "passed")

    def test_counts_no_suppression_which_a_training_has_not(self, tmp_path):
        crowd = [[(4, 10, 36, 32, 0), (14, 10, 36, 32, 0), (60, 20, 24, 24, 1)]]  # an IoU of 0.57
        made = subject(write_data(tmp_path / "data", crowd), ssd(iou_threshold=0.3, detections=1, score_threshold=1.0))
        assert check_round_trip(made).verdict == "failed"
        assert (check_augmentation(made).verdict, check_augmentation(made).notes) == ("passed", [])
        assert made.model.head.postprocess.iou_threshold == 0.3


class TestAnchors:
    @pytest.mark.parametrize("model", MODELS)
    def test_pass_where_they_fit(self, healthy, model):
        assert check_anchors(subject(healthy, MODELS[model]())).verdict == "passed"

    def test_are_named_where_they_are_far_too_large(self, healthy):
        finding = check_anchors(subject(healthy, yolo(anchors=[[[160, 140], [280, 240], [360, 360]]])))
        assert finding.verdict == "failed"
        assert "detkit anchors" in finding.notes[0]

    def test_that_are_too_large_are_told_from_cells_that_are_too_coarse(self, healthy):
        notes = check_anchors(subject(healthy, yolo(anchors=[[[160, 140], [280, 240], [360, 360]]]))).notes
        assert "times as large as the objects" in notes[0]
        assert not any("too coarse" in note for note in notes)

    def test_are_named_where_they_stand_too_far_apart(self, tmp_path):
        small = [[(x, y, 5, 5, 0) for x in (22, 42, 62) for y in (14, 34)]]
        coarse = yolo(anchors=[[[6, 6]]], stage=5)
        finding = check_anchors(subject(write_data(tmp_path / "data", small), coarse))
        assert finding.verdict == "warning"
        assert finding.sentence.startswith("100.0% of 6 objects")
        assert "the cells are too coarse" in finding.notes[0]

    def test_are_skipped_by_models_without(self, healthy):
        fcos = FCOS(TimmBackbone("test_resnet"), 3, preprocess=Square(64))
        assert check_anchors(subject(healthy, fcos)).verdict == "skipped"


class TestAnnotations:
    def _note(self, root, **data) -> str:
        finding = check_annotations(subject(root, ssd(), data))
        assert finding.verdict == "warning"
        return finding.notes[0]

    def test_healthy_ones_pass(self, tmp_path):
        assert check_annotations(subject(write_data(tmp_path / "data", HEALTHY * 7), ssd())).verdict == "passed"

    @pytest.mark.parametrize(("count", "said"), [(1, "has 1 image"), (3, "has 3 images")])
    def test_few_images(self, tmp_path, count, said):
        finding = check_annotations(subject(write_data(tmp_path / "data", HEALTHY[:1] * count), ssd()))
        assert finding.verdict == "warning"
        assert finding.sentence.endswith(said)
        assert "--start_from" in finding.notes[0]

    def test_fractions_read_as_pixels(self, tmp_path):
        fractions = [[(x / 96, y / 64, w / 96, h / 64, label) for x, y, w, h, label in one] for one in HEALTHY * 2]
        assert "fractions of the image" in self._note(write_data(tmp_path / "data", fractions))

    def test_corners_read_as_sizes(self, tmp_path):
        corners = [[(x, y, x + w, y + h, label) for x, y, w, h, label in one] for one in HEALTHY * 2]
        assert "corners" in self._note(write_data(tmp_path / "data", corners))

    def test_swapped_axes(self, tmp_path):
        swapped = [[(y, x, h, w, label) for x, y, w, h, label in one] for one in HEALTHY * 2]
        assert "axes look swapped" in self._note(write_data(tmp_path / "data", swapped), on_bad_box="skip")

    def test_boxes_of_whole_images(self, tmp_path):
        whole = [[(0, 0, 96, 64, row % 3)] for row in range(10)]
        assert "cover their whole image" in self._note(write_data(tmp_path / "data", whole))

    def test_objects_annotated_twice(self, tmp_path):
        twice = [[*HEALTHY[0], HEALTHY[0][1]]]
        note = self._note(write_data(tmp_path / "data", twice))
        assert "1 object is annotated twice" in note
        assert "50, 10, 28, 40" in note

    def test_labels_counted_from_1(self, tmp_path):
        shifted = [[(*box, label + 1) for *box, label in one] for one in HEALTHY * 2]
        note = self._note(write_data(tmp_path / "data", shifted, names=(*NAMES, "rat")))
        assert "counted from 1" in note

    def test_a_class_of_background(self, tmp_path):
        shifted = [[(*box, label + 1) for *box, label in one] for one in HEALTHY]
        assert "background is no class" in self._note(
            write_data(tmp_path / "data", shifted, names=("background", *NAMES))
        )

    def test_one_class_for_everything(self, tmp_path):
        lost = [[(*box, 1) for *box, _ in one] for one in HEALTHY * 2]
        assert "all 16 labels are 'dog'" in self._note(write_data(tmp_path / "data", lost))


class TestClasses:
    def test_that_are_swapped_in_one_split(self, tmp_path):
        """Dogs are few and square, owls are many and narrow; as many in each image that chance cannot swap them."""
        objects = [[(5, 5 + row % 3, 30, 30 + row % 4, 1), *((60, 10, 12 + row % 2, 24, 2),) * 2] for row in range(20)]
        root = write_data(tmp_path / "data", objects)
        assert check_classes(subject(root, ssd())).verdict == "passed"
        file = root / "annotations/instances_val.json"
        content = json.loads(file.read_text())
        for one in content["annotations"]:
            one["category_id"] = {1: 1, 2: 3, 3: 2}[one["category_id"]]
        file.write_text(json.dumps(content))
        finding = check_classes(subject(root, ssd()))
        assert finding.verdict == "warning"
        assert "'dog' and 'owl' look swapped" in finding.notes[0]

    def _finding(self, root, names):
        categories = [Category(row, name) for row, name in enumerate(names)]
        return check_classes(subject(root, ssd(), checkpoint=("best.ckpt", categories)))

    def test_of_a_checkpoint_pass_in_the_same_order(self, healthy):
        assert self._finding(healthy, NAMES).verdict == "passed"

    def test_of_a_checkpoint_in_another_order(self, healthy):
        finding = self._finding(healthy, ("dog", "cat", "owl"))
        assert finding.verdict == "failed"
        assert "label 0 is 'dog', in the data 'cat'" in finding.sentence

    def test_of_a_checkpoint_with_other_names(self, healthy):
        finding = self._finding(healthy, ("cat", "dog", "crow"))
        assert (finding.verdict, "owl" in finding.sentence, "crow" in finding.sentence) == ("failed", True, True)


class TestTrials:
    def test_of_a_healthy_recipe_pass(self, healthy):
        made = subject(healthy, ssd(), steps=80)
        assert check_random(made).verdict == "passed"
        assert check_precision(made).verdict == "passed"
        assert check_overfit(made).verdict == "passed"

    def test_name_a_precision_that_overflows(self, healthy):
        model = ssd()
        model.preprocess.std.fill_(1e-6)  # pixels of a million
        assert check_precision(subject(healthy, model)).verdict == "passed"
        finding = check_precision(subject(healthy, model, precision="16-mixed"))
        assert finding.verdict == "failed"
        assert "bf16-mixed" in finding.notes[0]

    @pytest.mark.parametrize(
        ("rate", "what"), [(0.0, "learning rate is 0"), (1e-9, "does not fall"), (1e30, "not finite")]
    )
    def test_name_a_wrong_learning_rate(self, healthy, rate, what):
        made = subject(healthy, ssd(), make_optimizers=lambda model, *_: [torch.optim.SGD(model.parameters(), lr=rate)])
        finding = check_overfit(made)
        assert finding.verdict == "failed"
        assert what in finding.notes[0]

    def test_name_what_makes_the_first_loss_infinite(self, healthy):
        class Divided(type(ssd())):
            def losses(self, *given):
                return {name: loss / 0 for name, loss in super().losses(*given).items()}

        model = ssd()
        model.__class__ = Divided
        for check in (check_precision, check_overfit):
            finding = check(subject(healthy, model))
            assert finding.verdict == "failed"
            assert "losses of your own that divide by 0" in finding.notes[0]
            assert "learning rate" not in finding.notes[0]

    def test_few_steps_are_no_reason_to_fail(self, healthy):
        finding = check_overfit(subject(healthy, yolo(score_threshold=1.0), steps=8))  # nothing comes back
        assert (finding.verdict, finding.numbers["losses"][-1] > 0.9 * finding.numbers["losses"][0]) == (
            "warning",
            True,
        )
        assert "--steps" in finding.notes[0]

    @pytest.mark.parametrize("statistics", [{"mean": [123, 116, 103]}, {"mean": [123, 116, 103], "std": [58, 57, 57]}])
    def test_names_pixels_that_are_normalized_as_bytes(self, healthy, statistics):
        model = ssd()
        assert check_pixels(subject(healthy, model)).verdict == "passed"
        model.preprocess = Square(64, **statistics)
        finding = check_pixels(subject(healthy, model))
        assert finding.verdict == "warning"
        assert "mean and std" in finding.notes[0]

    def test_name_a_head_that_is_frozen(self, healthy):
        model = ssd()
        model.head.requires_grad_(False)
        assert "head is frozen" in check_precision(subject(healthy, model)).notes[0]
        assert "nothing in head has changed" in check_overfit(subject(healthy, model, steps=2)).notes[0]

    def test_name_answers_that_leak(self, healthy):
        model = ssd()
        made = subject(healthy, model)
        dataset, task = made.data.eval_dataset, made.task
        truths = iter([task.truth(dataset.target(index)) for index in range(len(dataset))])
        model.detect = lambda images, given=None: [next(truths) for _ in images]
        finding = check_random(made)
        assert finding.verdict == "failed"
        assert "trained already" in finding.notes[0]
