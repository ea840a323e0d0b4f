import torch

from detkit.structures import Detections, Target
from detkit.tasks import Detection
from detkit.tasks.recovered_objects import recovered_objects


def _detections(boxes, labels) -> Detections:
    return Detections(torch.tensor(boxes).float().reshape(-1, 4), torch.ones(len(labels)), torch.tensor(labels))


def test_each_detection_stands_for_one_object():
    box = [0, 0, 10, 10]
    recovered = recovered_objects(_detections([box, box], [1, 1]), _detections([box], [1]))
    assert sorted(recovered.overlaps.tolist()) == [0, 1]
    assert sorted(recovered.rows.tolist()) == [-1, 0]


def test_of_another_class_none_does():
    recovered = recovered_objects(_detections([[0, 0, 10, 10]], [1]), _detections([[0, 0, 10, 10]], [0]))
    assert (recovered.overlaps.tolist(), recovered.rows.tolist()) == ([0], [-1])


def test_the_pairs_have_the_greatest_overlap():
    truth = _detections([[0, 0, 10, 10], [5, 0, 15, 10]], [0, 0])
    answer = _detections([[4, 0, 14, 10], [0, 0, 10, 10]], [0, 0])
    recovered = recovered_objects(truth, answer)
    assert recovered.rows.tolist() == [1, 0]
    torch.testing.assert_close(recovered.overlaps, torch.tensor([1.0, 9 / 11]))


def test_nothing_is_recovered_without_objects_or_detections():
    assert len(recovered_objects(Detections.empty(), _detections([[0, 0, 1, 1]], [0]))) == 0
    assert recovered_objects(_detections([[0, 0, 1, 1]], [0]), Detections.empty()).rows.tolist() == [-1]


def test_the_truth_of_an_image_has_no_crowds():
    boxes, crowds = torch.tensor([[0.0, 0, 9, 9], [0, 0, 40, 40]]), torch.tensor([False, True])
    truth = Detection().truth(Target(boxes, torch.tensor([1, 1]), iscrowd=crowds))
    assert truth.boxes.tolist() == [[0, 0, 9, 9]]
    assert Detection().truth(Target()) is None
