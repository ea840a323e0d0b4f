"""Which task a model has, and what a task says."""

import numpy as np
import pytest
import torch
from image_files import noise, write_image
from PIL import Image

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.errors import InputError
from detkit.evaluation import ClassificationEvaluator, CocoEvaluator, LocalizationEvaluator, SemanticEvaluator
from detkit.models import Classifier, Detector, FasterRCNN, Localizer, SegmentationModel, VisionModel
from detkit.structures import Category, Classification, Detections, SemanticMap
from detkit.tasks import Detection, Task, task_of

CATEGORIES = [Category(3, "disc"), Category(7, "star")]


class TestTaskOf:
    @pytest.mark.parametrize(
        ("model", "name", "answer", "evaluator", "headline"),
        [
            (FasterRCNN, "detection", Detections, CocoEvaluator, "AP"),
            (Classifier, "classification", Classification, ClassificationEvaluator, "top1"),
            (Localizer, "localization", Detections, LocalizationEvaluator, "top1_localization"),
            (SegmentationModel, "segmentation", SemanticMap, SemanticEvaluator, "mIoU"),
        ],
        ids=lambda value: getattr(value, "__name__", value),
    )
    def test_our_models(self, model, name, answer, evaluator, headline):
        task = task_of(model)
        assert (task.name, task.answer, task.evaluators) == (name, answer, (evaluator,))
        assert evaluator.headline == headline

    def test_an_object_a_class_a_path_or_a_name_from_before(self):
        task = Detection()
        for named in (task, Detection, "detkit.tasks.Detection", "detection"):
            model = type("Model", (VisionModel,), {"task": named})()
            assert isinstance(task_of(model), Detection)
        assert task_of(type("Model", (VisionModel,), {"task": task})) is task

    @pytest.mark.parametrize("named", ["detkit.tasks.Nothing", "nowhere.Task", "segmentation", 3, "detkit.models.FCOS"])
    def test_what_is_no_task_is_named(self, named):
        with pytest.raises(InputError, match=r"Odd\.task is"):
            task_of(type("Odd", (VisionModel,), {"task": named}))

    def test_a_model_without_one_is_told_so(self):
        with pytest.raises(InputError, match=r"VisionModel\.task is None"):
            task_of(VisionModel())


class TestDetection:
    def test_label_maps_without_boxes_are_refused(self, tmp_path):
        (tmp_path / "classes.txt").write_text("ground\nhouse\n")
        for split in ("train", "val"):
            write_image(tmp_path / f"images/{split}/1.png", noise(20, 30, 1))
            (tmp_path / "masks" / split).mkdir(parents=True)
            Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(tmp_path / f"masks/{split}/1.png")
        with pytest.raises(InputError, match=r"label maps and no boxes, but the FasterRCNN learns boxes: train a seg"):
            Detection().check_data(FasterRCNN("test_resnet", num_classes=2), DataModule(tmp_path))

    def test_label_maps_beside_boxes_are_taken(self, tmp_path):
        options = ShapesOptions(counts={"train": 2, "val": 1}, image_size=(48, 64), stuff=("background",))
        data = DataModule(draw_shapes(tmp_path / "shapes", options), reads=["label_map"])
        Detection().check_data(FasterRCNN("test_resnet", num_classes=2), data)


class TestAnswers:
    def test_of_another_task_are_refused(self):
        model = FasterRCNN.__new__(FasterRCNN)
        task_of(model).check_answers(model, [Detections.empty()])
        with pytest.raises(InputError, match="FasterRCNN answers with a Classification, but its task detection"):
            task_of(model).check_answers(model, [Classification(torch.ones(1), torch.tensor([0]))])

    def test_are_selected_by_their_scores_where_they_have_any(self):
        detections = Detections(torch.ones(2, 4), torch.tensor([0.9, 0.4]), torch.tensor([0, 1]))
        assert len(task_of(FasterRCNN).select(detections, 0.5)) == 1
        assert Task().select("a map", 0.5) == "a map"

    def test_of_a_classifier_are_detections_without_boxes(self):
        answer = Classification(torch.tensor([0.75, 0.25]), torch.tensor([1, 0]))
        assert task_of(Classifier).results(answer, CATEGORIES) == [
            {"category_id": 7, "category": "star", "score": 0.75},
            {"category_id": 3, "category": "disc", "score": 0.25},
        ]

    def test_of_a_detector_are_in_cocos_format(self):
        detections = Detections(
            boxes=torch.tensor([[1.0, 2, 4, 6]]),
            scores=torch.tensor([0.5]),
            labels=torch.tensor([1]),
            masks=torch.ones(1, 6, 8, dtype=torch.bool),
            keypoints=torch.tensor([[[1.0, 2, 0.5]]]),
        )
        (entry,) = task_of(FasterRCNN).results(detections, CATEGORIES)
        assert entry["bbox"] == [1, 2, 3, 4]
        assert entry["segmentation"]["size"] == [6, 8]
        assert entry["keypoints"] == [1, 2, 0.5]
        assert (entry["category_id"], entry["category"], entry["score"]) == (7, "star", 0.5)

    def test_say_what_the_outputs_of_an_exported_graph_mean(self):
        assert {"boxes", "scores", "labels", "count"} <= task_of(FasterRCNN).export(None).keys()
        assert list(task_of(Classifier).export(None)) == ["probabilities"]
        assert "most likely classes" in task_of(Localizer).export(None)["boxes"]


def test_a_classifier_is_a_model_but_no_detector():
    assert issubclass(Classifier, VisionModel)
    assert not issubclass(Classifier, Detector)
    assert issubclass(Localizer, Detector)
