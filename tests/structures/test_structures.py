"""Target and Detections: what they refuse, and how they are indexed and moved."""

import dataclasses

import pytest
import torch

from detkit.heads.assignment import crowd_mask
from detkit.ops import masks_to_rle, rle_to_masks
from detkit.structures import Category, Classification, Detections, Target
from detkit.structures.kind import to_device

COUNT = 5


def _target(**changes):
    generator = torch.Generator().manual_seed(0)
    fields = {
        "boxes": torch.rand(COUNT, 4, generator=generator),
        "labels": torch.arange(COUNT),
        "masks": torch.rand(COUNT, 6, 8, generator=generator) > 0.5,
        "keypoints": torch.rand(COUNT, 3, 3, generator=generator),
        "iscrowd": torch.tensor([False, True, False, True, False]),
        "area": torch.rand(COUNT, generator=generator),
        "difficult": torch.zeros(COUNT, dtype=torch.bool),
        "image_id": "street.jpg",
    }
    return Target(**(fields | changes))


def _detections(**changes):
    generator = torch.Generator().manual_seed(1)
    fields = {
        "boxes": torch.rand(COUNT, 4, generator=generator),
        "scores": torch.rand(COUNT, generator=generator),
        "labels": torch.arange(COUNT),
        "masks": torch.rand(COUNT, 6, 8, generator=generator) > 0.5,
        "keypoints": torch.rand(COUNT, 3, 3, generator=generator),
    }
    return Detections(**(fields | changes))


def _tensor_fields(objects):
    values = {field.name: getattr(objects, field.name) for field in dataclasses.fields(objects)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


BOTH = pytest.mark.parametrize("make", [_target, _detections])


@BOTH
@pytest.mark.parametrize(
    "index",
    [torch.tensor([True, False, False, True, False]), torch.tensor([4, 0, 0]), slice(1, 4), torch.tensor([]).long()],
    ids=["mask", "indices", "slice", "nothing"],
)
def test_an_index_selects_the_same_rows_of_every_field(make, index):
    objects = make()
    chosen = objects[index]
    assert type(chosen) is type(objects)
    fields = _tensor_fields(objects)
    assert _tensor_fields(chosen).keys() == fields.keys()
    for name, value in fields.items():
        assert torch.equal(getattr(chosen, name), value[index]), name
    assert len(chosen) == len(objects.boxes[index])


@BOTH
def test_a_slice_goes_backwards_too(make):
    objects = make()
    for index in (slice(None, None, -1), slice(3, 0, -2), slice(0, 3, -1)):
        rows = list(range(len(objects)))[index]
        chosen = objects[index]
        assert len(chosen) == len(rows)
        for name, value in _tensor_fields(objects).items():
            assert torch.equal(getattr(chosen, name), value[rows]), name


@BOTH
def test_a_tensor_of_another_shape_than_rows_is_refused(make):
    with pytest.raises(IndexError, match=r"a tensor \(N,\), got \(\); of one object give its number, int\(index\)"):
        make()[torch.tensor(2)]
    with pytest.raises(IndexError, match=r"a tensor \(N,\), got \(1, 2\)"):
        make()[torch.tensor([[0, 1]])]


def test_indexing_keeps_what_is_not_a_tensor():
    assert _target()[:2].image_id == "street.jpg"
    assert Target.empty(7)[torch.zeros(0, dtype=torch.bool)].image_id == 7


@BOTH
@pytest.mark.parametrize("index", [True, [0, 1], "boxes", None, 0.0])
def test_other_indices_are_refused(make, index):
    with pytest.raises(TypeError, match="mask, an index tensor or a slice"):
        make()[index]


@BOTH
def test_to_moves_every_tensor_and_leaves_the_original(make):
    objects = make()
    moved = objects.to("meta")
    assert {value.device.type for value in _tensor_fields(moved).values()} == {"meta"}
    assert _tensor_fields(moved).keys() == _tensor_fields(objects).keys()
    assert objects.boxes.device.type == "cpu"


@BOTH
def test_fields_cannot_be_replaced(make):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().boxes = torch.zeros(0, 4)


@pytest.mark.parametrize(
    ("make", "field", "value", "error"),
    [
        (_target, "boxes", torch.zeros(COUNT, 5), ValueError),
        (_target, "boxes", torch.zeros(0), ValueError),
        (_target, "boxes", torch.tensor(3.0), ValueError),
        (_target, "boxes", torch.zeros(COUNT, 4, dtype=torch.float64), TypeError),
        (_target, "boxes", [[0, 0, 1, 1]], TypeError),
        (_detections, "boxes", None, TypeError),
        (_detections, "labels", None, TypeError),
        (_detections, "scores", None, TypeError),
        (_target, "labels", torch.zeros(COUNT - 1, dtype=torch.int64), ValueError),
        (_target, "labels", torch.zeros(COUNT, 1, dtype=torch.int64), ValueError),
        (_target, "labels", torch.zeros(COUNT, dtype=torch.int32), TypeError),
        (_target, "masks", torch.zeros(COUNT, 6, 8, dtype=torch.uint8), TypeError),
        (_target, "masks", torch.zeros(COUNT + 1, 6, 8, dtype=torch.bool), ValueError),
        (_target, "keypoints", torch.zeros(COUNT, 17, 2), ValueError),
        (_target, "iscrowd", torch.zeros(COUNT, dtype=torch.int64), TypeError),
        (_target, "area", torch.zeros(COUNT, dtype=torch.int64), TypeError),
        (_target, "difficult", torch.zeros(2, dtype=torch.bool), ValueError),
        (_detections, "boxes", torch.zeros(COUNT, 4, dtype=torch.bfloat16), TypeError),
        (_detections, "scores", torch.zeros(COUNT, dtype=torch.float16), TypeError),
        (_detections, "scores", torch.zeros(COUNT, 2), ValueError),
        (_detections, "labels", torch.zeros(COUNT), TypeError),
        (_detections, "masks", torch.zeros(COUNT, 48, dtype=torch.bool), ValueError),
        (_detections, "keypoints", torch.zeros(COUNT, 3), ValueError),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(make, field, value, error):
    owner = type(make()).__name__
    with pytest.raises(error, match=rf"^{owner}\.{field} must be|^{owner}\.{field} must have shape"):
        make(**{field: value})


def test_the_message_says_what_is_wanted_and_what_came():
    with pytest.raises(ValueError, match=r"shape \(5,\) for 5 boxes, got \(4,\)"):
        _target(labels=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Target\.boxes must have shape \(N, 4\), got \(0,\)"):
        Target(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"torch\.int64, got torch\.float32"):
        _target(labels=torch.zeros(5))


def test_optional_fields_may_be_absent():
    target = Target(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    assert target.masks is None
    assert target[:1].masks is None
    assert len(target[:1]) == 1


def test_empty_ones_have_no_objects():
    for objects in (Target.empty(), Detections.empty()):
        assert len(objects) == 0
        assert objects.boxes.shape == (0, 4)
    assert Target.empty("a.jpg").image_id == "a.jpg"


def test_objects_and_ignored_boxes_share_out_the_boxes():
    target = _target()
    assert torch.equal(target.objects().labels, torch.tensor([0, 2, 4]))
    assert torch.equal(target.objects().masks, target.masks[[0, 2, 4]])
    assert torch.equal(target.ignored_boxes(), target.boxes[[1, 3]])


def test_without_crowds_every_box_is_an_object():
    target = _target(iscrowd=None)
    assert torch.equal(target.objects().boxes, target.boxes)
    assert target.ignored_boxes().shape == (0, 4)


def test_categories_compare_by_value():
    assert Category(3, "cat") == Category(3, "cat")
    assert Category(3, "cat") != Category(4, "cat")


def test_run_length_masks_are_indexed_and_moved_with_their_boxes():
    masks = torch.zeros(3, 4, 5, dtype=torch.bool)
    masks[1, 2], masks[2, :, 3] = True, True
    target = Target(torch.zeros(3, 4), torch.arange(3), masks=masks_to_rle(masks))
    chosen = target[torch.tensor([False, True, True])].to("cpu")
    assert torch.equal(rle_to_masks(chosen.masks), masks[1:])
    assert torch.equal(rle_to_masks(target[torch.tensor([2, 0])].masks), masks[[2, 0]])
    with pytest.raises(ValueError, match=r"Target.masks must be 2, one for each box, got 3"):
        Target(torch.zeros(2, 4), torch.arange(2), masks=masks_to_rle(masks))
    with pytest.raises(TypeError, match="masks must be a bool tensor or RunLengths, got list"):
        Target(torch.zeros(2, 4), torch.arange(2), masks=[])


def test_a_classification_is_indexed_and_moved_as_others():
    answer = Classification(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([2, 0, 1]))
    assert len(answer) == 3
    assert answer[answer.scores > 0.25].labels.tolist() == [2, 0]
    assert answer.to("meta").labels.is_meta
    assert len(answer[:0]) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (torch.ones(2), torch.ones(3).long(), r"labels must have shape \(2,\) for 2 scores"),
        (torch.ones(2).double(), torch.ones(2).long(), "scores must be torch.float32"),
        (torch.ones(2), torch.ones(2), "labels must be torch.int64"),
        (torch.ones(2, 1), torch.ones(2).long(), "scores must have shape"),
    ],
)
def test_a_classification_that_does_not_fit(scores, labels, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Classification(scores, labels)


def test_the_class_of_an_image_is_a_plain_number():
    assert Target.empty("a.jpg", 3).to("meta").image_label == 3
    assert Target.empty(image_label=3)[:0].image_label == 3
    with pytest.raises(TypeError, match="image_label must be an int, got Tensor"):
        Target.empty(image_label=torch.tensor(3))


class TestCrowds:
    def test_are_told_from_objects_once(self):
        target = _target()
        assert target.objects() is target.objects()
        without = _target(iscrowd=torch.zeros(COUNT, dtype=torch.bool))
        assert without.objects() is without

    def test_are_told_before_a_target_is_moved(self):
        moved = _target().to("meta")  # where nothing can be asked
        assert len(moved.objects()) == 3
        assert moved.objects().masks.shape == (3, 6, 8)
        assert moved.ignored_boxes().shape == (2, 4)
        assert len(moved.objects().objects()) == 3

    def test_have_no_boxes_where_none_are_annotated(self):
        for flags in (None, torch.tensor([True, False])):
            target = Target(iscrowd=flags, image_label=1)
            assert target.ignored_boxes().shape == (0, 4)
            assert target.objects().image_label == 1
            assert crowd_mask(target).shape == (0,)


def test_a_mask_for_another_number_of_objects_is_refused():
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) does not select of 5 boxes"):
        _target()[torch.tensor([True, False])]


def test_a_copy_to_the_cpu_is_waited_for(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda value, device, non_blocking: asked.append(non_blocking))
    for device in ("cpu", torch.device("cpu"), "meta", "cuda:1"):
        to_device(torch.ones(1), device)
    assert asked == [False, False, True, True]
