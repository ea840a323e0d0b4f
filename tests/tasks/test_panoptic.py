"""The task of panoptic segmentation: answers, truth, files, drawings, and graphs that are put back together."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.coco_files import colors_to_ids
from detkit.evaluation import CocoEvaluator, PanopticEvaluator, SemanticEvaluator
from detkit.heads import Context
from detkit.structures import Category, Target
from detkit.tasks import Panoptic
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.testing import check_task

sys.path.append(str(Path(__file__).parents[1] / "models" / "panoptic"))
from panoptic_models import CATEGORIES, make_batch, make_model

IMAGE = np.full((20, 30, 3), 90, np.uint8)


def make_target():
    """Two discs, one of them half hidden, a ring, sky, sand, and a void row."""
    panoptic_map = torch.full((20, 30), 65536, dtype=torch.int32)
    panoptic_map[12:] = 3 * 65536
    panoptic_map[2:8, 2:8], panoptic_map[4:10, 6:12], panoptic_map[14:19, 20:27] = 7, 9, 4 * 65536 + 2
    panoptic_map[19] = -1
    boxes = torch.tensor([[2.0, 2, 8, 8], [6, 4, 12, 10], [20, 14, 27, 19]])
    values = torch.tensor([7, 9, 4 * 65536 + 2])
    return Target(
        boxes, torch.tensor([0, 0, 4]), masks=panoptic_map == values[:, None, None], panoptic_map=panoptic_map,
        image_id=1,
        label_map=torch.where(panoptic_map < 0, 255, panoptic_map // 65536).to(torch.uint8),
    )  # fmt: skip


def annotations():
    """The file of the target, as COCO has it."""
    target = make_target()
    objects = [
        {"id": number, "image_id": 1, "category_id": CATEGORIES[label].id, "iscrowd": 0, "area": float(mask.sum()),
         "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
        for number, (label, mask, (x1, y1, x2, y2)) in enumerate(
            zip(target.labels.tolist(), target.masks, target.boxes.tolist(), strict=True), start=1
        )
    ]  # fmt: skip
    categories = [{"id": one.id, "name": one.name, "isthing": int(one.is_thing)} for one in CATEGORIES]
    image = {"id": 1, "file_name": "a.png", "height": 20, "width": 30}
    return {"images": [image], "categories": categories, "annotations": objects}


def test_it_keeps_the_rules_of_tasks():
    target = make_target()
    check_task(Panoptic(), IMAGE, Panoptic().truth(target), CATEGORIES, target)


def test_the_truth_is_recovered_by_itself_and_evaluates_as_perfect():
    target = make_target()
    answer = Panoptic().truth(target)
    found = Panoptic().recovered(target, answer)
    assert found.overlaps.tolist() == [1.0] * 5
    assert found.labels.tolist() == [0, 0, 1, 3, 4]
    # One answer is read by the evaluators of objects, of pixels and of both.
    for evaluator in (
        PanopticEvaluator(annotations(), CATEGORIES),
        SemanticEvaluator(annotations(), CATEGORIES),
        CocoEvaluator(annotations(), "bbox", categories=CATEGORIES),
    ):
        assert evaluator.reads in Panoptic().parts
        evaluator.update([target], [answer])
        assert evaluator.compute()[evaluator.headline] == pytest.approx(1.0), evaluator.name


def test_a_lost_object_is_not_recovered():
    target = make_target()
    found = Panoptic().recovered(target, Panoptic().truth(target).at_least(2.0))
    assert found.overlaps.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert found.rows.tolist()[:2] == [-1, -1]


@pytest.mark.parametrize("has_objects", [True, False])
def test_crowds_are_no_segments(has_objects):
    """A network learns nothing from a crowd, so that it cannot lose one; nor does it count in the evaluation."""
    target = make_target()
    panoptic_map = target.panoptic_map.clone()
    panoptic_map[0, 12:20] = 0  # of discs, which have instances
    panoptic_map[0, 20:25] = 2 * 65536  # of boxes, which have none
    boxes = torch.cat([target.boxes, torch.tensor([[12.0, 0, 20, 1], [20, 0, 25, 1]])])
    labels, iscrowd = torch.tensor([0, 0, 4, 0, 2]), torch.tensor([0, 0, 0, 1, 1], dtype=torch.bool)
    fields = {"boxes": boxes, "labels": labels, "iscrowd": iscrowd} if has_objects else {}
    crowded = Target(**fields, panoptic_map=panoptic_map, image_id=1)
    answer = Panoptic().truth(target)  # which knows nothing of the crowds
    found = Panoptic().recovered(crowded, answer)
    seen = [0, 0, 1, 3, 4] if has_objects else [0, 0, 1, 2, 3, 4]  # without objects none tells that boxes are things
    assert found.labels.tolist() == seen
    assert [one for one, label in zip(found.overlaps.tolist(), seen, strict=True) if label in (0, 3, 4)] == [1.0] * 4
    evaluator = PanopticEvaluator(annotations(), CATEGORIES)
    evaluator.update([crowded], [answer])
    assert evaluator.compute()["RQ"] == 1.0


def test_results_and_png_have_the_same_ids():
    task, answer = Panoptic(), Panoptic().truth(make_target())
    (entry,) = json.loads(json.dumps(task.results(answer, CATEGORIES)))
    pixels = np.array(Image.open(io.BytesIO(task.answer_file("panoptic.png", answer, CATEGORIES))))
    ids = colors_to_ids(pixels)
    assert set(np.unique(ids)) - {0} == {one["id"] for one in entry["segments_info"]}
    for one in entry["segments_info"]:
        assert (ids == one["id"]).sum() == one["area"]
        category = next(other for other in CATEGORIES if other.id == one["category_id"])
        assert (one["category"], one["isthing"]) == (category.name, int(category.is_thing))
    assert task.answer_files["panoptic.png"]
    labels = np.array(Image.open(io.BytesIO(task.answer_file("labels.png", answer, CATEGORIES))))
    assert set(np.unique(labels)) == {1, 2, 7, 8, 255}


def test_drawings_show_each_object_in_its_color_and_leave_void_as_it_is():
    task, target = Panoptic(), make_target()
    image = np.full((200, 300, 3), 90, np.uint8)
    large = task.resized(task.truth(target), (20, 30), (200, 300))
    assert large.panoptic_map.shape == large.label_map.shape == (200, 300)
    drawn = task.draw(image, large, CATEGORIES, 0.5)
    assert not np.array_equal(drawn[40, 40], drawn[80, 100])  # two discs
    assert (drawn[197, 120:180] == 90).all()  # void
    assert np.array_equal(task.draw(image, large, CATEGORIES, 1.1)[40, 40], image[40, 40])
    truth = task.draw_truth(image, task.resized(target, (20, 30), (200, 300)), CATEGORIES)
    assert not np.array_equal(truth[40, 40], truth[80, 100])


@torch.no_grad()
def test_outputs_of_a_graph_are_merged_as_the_model_does():
    torch.manual_seed(0)
    model, task = make_model().eval(), Panoptic()
    images, _ = make_batch()
    batch = model.preprocess(images)
    context = Context(batch)
    raw = model.heads(model.features(batch), context)
    outputs = model.decode_padded(raw, context)
    assert outputs.keys() <= task.export(model).keys()
    tolerance = Tolerance(1e-3, 0.0)
    assert task.outputs_differ(outputs, outputs, tolerance) is None
    shifted = outputs | {"semantic": outputs["semantic"] + 0.5}
    assert task.outputs_differ(shifted, outputs, tolerance) == "semantic differs by 0.5"
    differences = task.differences(CATEGORIES)
    for image, (own, theirs) in enumerate(
        zip(model.decode(raw, context), task.exported_answers(model, outputs, batch), strict=True)
    ):
        assert (own.panoptic_map == theirs.panoptic_map).float().mean() > 0.99
        differences.add(image, tuple(own.panoptic_map.shape), own, theirs)
    assert differences.result().agree


def test_data_without_stuff_is_refused():
    class Data:
        categories = [Category(1, "disc")]  # noqa: RUF012
        train_dataset = type("", (), {"annotations_path": "a.json", "has_image_labels": False})

    with pytest.raises(Exception, match=r"all 1 classes of a\.json are things"):
        Panoptic().check_data(make_model(), Data())
