"""`PanopticMap`: its segments, its parts, and moving all of them together."""

import numpy as np
import pytest
import torch

from detkit.coco_files import colors_to_ids
from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.structures import Category, Detections, PanopticMap, SemanticMap

CATEGORIES = [Category(4, "car"), Category(7, "road", is_thing=False), Category(300, "person")]


def make_answer():
    """A person and a car on a road, and a corner of which nothing is known."""
    panoptic_map = torch.full((6, 8), 1 * 65536, dtype=torch.int32)
    panoptic_map[:2, :4], panoptic_map[3:5, 2:5], panoptic_map[5, 7] = 2 * 65536 + 1, 2, -1
    detections = Detections(
        torch.tensor([[0.0, 0, 4, 2], [2, 3, 5, 5], [0, 0, 1, 1]]),
        torch.tensor([0.9, 0.75, 0.1]),
        torch.tensor([2, 0, 0]),
        torch.zeros(3, 6, 8, dtype=torch.bool),
    )
    classes = torch.where(panoptic_map < 0, 255, panoptic_map // 65536).to(torch.uint8)
    return PanopticMap(panoptic_map, detections, SemanticMap(classes))


def test_segments_have_class_score_and_area():
    answer = make_answer().of_image(np.zeros((6, 8, 3), np.uint8), CATEGORIES)
    found = [(one.name, one.instance, one.score, one.area) for one in answer.segments()]
    assert found == [
        ("person", 1, pytest.approx(0.9), 8),
        ("car", 2, pytest.approx(0.75), 6),
        ("road", 0, None, 33),
    ]
    assert repr(answer) == "6 x 8 pixels: 1 person, 1 car, road 69 %"
    assert answer.to_numpy().keys() >= {"panoptic_map", "label_map", "boxes", "scores", "labels", "masks"}


def test_objects_below_a_score_leave_the_map():
    answer = make_answer().at_least(0.8)
    assert [(one.label, one.instance) for one in answer.segments()] == [(2, 1), (1, 0)]
    assert answer.scores.tolist() == [pytest.approx(0.9)]
    assert int((answer.panoptic_map < 0).sum()) == 7


def test_all_parts_move_together():
    answer = make_answer()
    moved = answer.moved(Placement.mirror((6, 8), horizontal=True, vertical=False))
    assert torch.equal(moved.panoptic_map, answer.panoptic_map.flip(1))
    assert torch.equal(moved.label_map, answer.label_map.flip(1))
    assert moved.boxes[0].tolist() == [4, 0, 8, 2]
    (there,) = PanopticMap.batch_to([answer], "meta")
    assert {there.panoptic_map.device.type, there.boxes.device.type, there.label_map.device.type} == {"meta"}


def test_cocos_format_has_the_ids_of_its_pixels():
    answer = make_answer()
    with pytest.raises(InputError, match="do not know the categories"):
        answer.to_coco()
    segments, colors = answer.of_image(np.zeros((6, 8, 3), np.uint8), CATEGORIES).to_coco()
    ids = colors_to_ids(colors)
    assert [(one["category_id"], one["area"], one["bbox"]) for one in segments] == [
        (300, 8, [0, 0, 4, 2]),
        (4, 6, [2, 3, 3, 2]),
        (7, 33, [0, 0, 8, 6]),
    ]
    for one, value in zip(segments, (2 * 65536 + 1, 2, 65536), strict=True):
        assert np.array_equal(ids == one["id"], (answer.panoptic_map == value).numpy())
    assert ids[5, 7] == 0


def test_a_part_of_another_type_is_refused():
    answer = make_answer()
    with pytest.raises(TypeError, match=r"PanopticMap\.semantic must be SemanticMap, got Detections"):
        PanopticMap(answer.panoptic_map, answer.detections, answer.detections)
