"""Predictions by row, by name, and as text."""

import pickle

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.ops import masks_to_rle
from detkit.structures import Category, Classification, Detections, ImageSource, Target

CATEGORIES = [Category(5, "RBC"), Category(9, "WBC")]
BOXES = torch.tensor([[1.0, 2, 11, 22], [5, 5, 9, 9], [0, 0, 3, 4]])
MASKS = torch.rand(3, 30, 20, generator=torch.Generator().manual_seed(0)) > 0.5
KEYPOINTS = torch.arange(18.0).reshape(3, 2, 3)


def detections(**fields):
    known = ImageSource(categories=CATEGORIES)
    return Detections(BOXES, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0]), **{"source": known, **fields})


@pytest.mark.parametrize("masks", [MASKS, masks_to_rle(MASKS)], ids=["pixels", "run lengths"])
@pytest.mark.parametrize("row", [0, 2, -1, np.int64(1)])
def test_an_integer_gives_one_object(masks, row):
    one = detections(masks=masks, keypoints=KEYPOINTS)[row]
    assert torch.equal(one.box, BOXES[row])
    assert one.score == pytest.approx([0.9, 0.8, 0.7][row])
    assert (one.label, one.name) == [(0, "RBC"), (1, "WBC"), (0, "RBC")][row]
    assert torch.equal(one.mask, MASKS[row])
    assert torch.equal(one.keypoints, KEYPOINTS[row])


def test_what_is_not_there_is_none():
    one = detections(source=None)[0]
    assert (one.name, one.mask, one.keypoints) == (None, None, None)


def test_they_iterate_best_first():
    assert [one.label for one in detections()] == [0, 1, 0]
    assert list(Detections.empty()) == []
    assert [one.name for one in detections()[1:]] == ["WBC", "RBC"]


@pytest.mark.parametrize("row", [3, -4])
def test_rows_out_of_range_are_refused(row):
    with pytest.raises(IndexError, match=f"index {row} is out of range for 3"):
        detections()[row]


def test_a_target_has_no_single_objects():
    with pytest.raises(TypeError, match="index Target with a mask"):
        Target(BOXES, torch.tensor([0, 1, 0]))[0]


def test_one_line_says_what_they_are():
    assert repr(detections()) == "3 detections: 2 RBC, 1 WBC"
    assert repr(detections(source=None)[:1]) == "1 detection: 1 label 0"
    assert repr(Detections.empty()) == "0 detections"
    assert repr(detections()[0]) == "RBC 0.90 at (1, 2, 11, 22)"
    many = Detections(torch.zeros(30, 4), torch.ones(30), torch.arange(30))
    assert repr(many).endswith("1 label 9 …")


def test_classes_have_rows_and_a_line_too():
    classes = Classification(torch.tensor([0.6, 0.4]), torch.tensor([1, 0]), source=ImageSource(categories=CATEGORIES))
    assert [(one.name, one.label) for one in classes] == [("WBC", 1), ("RBC", 0)]
    assert classes[-1].score == pytest.approx(0.4)
    assert repr(classes) == "2 classes: WBC 0.60, RBC 0.40"
    assert len(classes[classes.scores > 0.5]) == 1


def test_arrays_are_the_fields():
    arrays = detections(masks=masks_to_rle(MASKS)).to_numpy()
    assert sorted(arrays) == ["boxes", "labels", "masks", "scores"]
    assert np.array_equal(arrays["masks"], MASKS.numpy())
    assert np.array_equal(arrays["boxes"], BOXES.numpy())


def test_the_source_stays_with_copies_but_not_the_image_in_another_frame():
    source = ImageSource(np.zeros((30, 20, 3), np.uint8), categories=CATEGORIES)
    known = detections(source=source)
    for copy in (known[:1], known[known.scores > 0.75], known.to("cpu"), Detections.batch_to([known], "cpu")[0]):
        assert copy.source is source
    moved = known.moved(Placement(((2.0, 0.0, 0.0), (0.0, 2.0, 0.0)), (60, 40), (30, 20)))
    assert moved.source.image is None
    assert moved.categories == CATEGORIES
    assert pickle.loads(pickle.dumps(known)).names == ["RBC", "WBC", "RBC"]


def test_what_is_unknown_is_said():
    with pytest.raises(InputError, match=r"do not know the categories .* of_image"):
        detections(source=None).names  # noqa: B018
    with pytest.raises(InputError, match="label 1 has no name among 1 categories"):
        detections(source=ImageSource(categories=CATEGORIES[:1])).names  # noqa: B018
    with pytest.raises(InputError, match="do not know their image"):
        detections().image  # noqa: B018
    with pytest.raises(TypeError, match=r"Detections\.source must be an ImageSource, got str"):
        detections(source="street.jpg")
