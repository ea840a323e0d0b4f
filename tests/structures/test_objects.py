"""The objects of a batch in one tensor."""

import pytest
import torch
from operation_counter import OperationCounter

from detkit.errors import InputError
from detkit.structures import Target
from detkit.structures.objects import objects_of

CPU = torch.device("cpu")


def _target(count, iscrowd=None, first=0.0):
    boxes = first + torch.arange(count * 4.0).view(count, 4)
    return Target(boxes, torch.arange(count), iscrowd=None if iscrowd is None else torch.tensor(iscrowd))


BATCH = [
    _target(2),
    Target(),
    _target(3, [True, False, True], 100),
    Target.empty(),
    _target(1, [False], 200),
]


def test_rows_are_those_of_all_images_without_crowds():
    objects = objects_of(BATCH, CPU)
    assert torch.equal(objects.boxes, torch.cat((BATCH[0].boxes, BATCH[2].boxes[1:2], BATCH[4].boxes)))
    assert objects.labels.tolist() == [0, 1, 1, 0]
    assert objects.image_index.tolist() == [0, 0, 2, 4]
    assert objects.bounds.tolist() == [0, 2, 2, 3, 3, 4]
    assert objects.counts == [2, 0, 1, 0, 1]
    assert objects.offsets == [0, 2, 2, 3, 3]
    boxes, labels = objects
    assert boxes is objects.boxes
    assert labels is objects.labels


def test_crowds_are_kept_beside_them():
    crowds = objects_of(BATCH, CPU).crowds
    assert torch.equal(crowds.boxes, BATCH[2].boxes[::2])
    assert crowds.image_index.tolist() == [2, 2]
    assert crowds.bounds.tolist() == [0, 0, 0, 2, 2, 2]
    assert objects_of(BATCH[:2], CPU).crowds is None
    assert objects_of([_target(2, [False, False])], CPU).crowds is None


def test_images_without_annotation_are_known():
    objects = objects_of(BATCH, CPU)
    assert objects.annotated == [True, False, True, True, True]
    assert objects.unannotated.tolist() == [False, True, False, False, False]
    assert objects.annotated_images() == 4
    assert objects_of(BATCH[2:], CPU).unannotated is None
    assert objects_of([Target()], CPU).annotated_images() == 1


@pytest.mark.parametrize("image", range(len(BATCH)))
def test_each_image_can_be_had_as_a_target(image):
    target = objects_of(BATCH, CPU).target(image)
    if BATCH[image].boxes is None:
        assert target.boxes is None
        return
    assert torch.equal(target.objects().boxes, BATCH[image].objects().boxes)
    assert torch.equal(target.objects().labels, BATCH[image].objects().labels)
    assert torch.equal(target.ignored_boxes(), BATCH[image].ignored_boxes())


def test_nothing_is_legal():
    for targets in ([], [Target()], [Target.empty()], [_target(1, [True])]):
        objects = objects_of(targets, CPU)
        assert objects.boxes.shape == (0, 4)
        assert objects.labels.dtype == torch.int64
        assert len(objects.bounds) == len(targets) + 1


def test_boxes_need_labels():
    with pytest.raises(InputError, match="the target of image id 7 has no boxes with labels"):
        objects_of([Target(torch.zeros(1, 4), image_id=7)], CPU)


def test_more_images_take_no_more_operations():
    counts = []
    for images in (2, 8):
        targets = [_target(3, [False] * 3) for _ in range(images)]
        with OperationCounter() as counter:
            objects_of(targets, CPU)
        counts.append(counter.operations)
    assert counts[0] == counts[1] <= 8
