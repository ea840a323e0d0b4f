"""Two answers agree if their detections pair up in every output; else the output at fault is named."""

import pytest
import torch

from detkit.exporting.output_check import EXACT
from detkit.tasks.differences.output_agreement import unequal_detections, unequal_numbers


@pytest.fixture
def answers():
    """Forty detections of the first of two images, none of the second."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(2, 40, 2, generator=generator) * 500
    outputs = {
        "boxes": torch.cat((corners, corners + 50), dim=2),
        "scores": torch.rand(2, 40, generator=generator).sort(dim=1, descending=True).values / 100,
        "labels": torch.randint(0, 5, (2, 40), generator=generator),
        "masks": torch.rand(2, 40, 4, 4, generator=generator),
        "keypoints": torch.rand(2, 40, 3, 3, generator=generator) * torch.tensor([500.0, 500, 5]),
        "count": torch.tensor([40, 0]),
    }
    for name in ("boxes", "scores", "labels", "masks", "keypoints"):
        outputs[name][1] = 0
    return outputs


def changed(answers, name, change):
    return {**answers, name: change(answers[name].clone())}


def test_equal_answers_agree(answers):
    assert unequal_detections(answers, answers, EXACT) is None


def test_rounding_and_order_do_not_matter(answers):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    given = {name: values[:, order] if name != "count" else values for name, values in answers.items()}
    given["boxes"] = given["boxes"] + 1e-3
    assert unequal_detections(given, answers, EXACT) is None


def test_what_follows_the_detections_of_an_image_means_nothing(answers):
    given = {name: values.clone() for name, values in answers.items()}
    given["boxes"][1] = 7.0
    assert unequal_detections(given, answers, EXACT) is None


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("boxes", lambda boxes: boxes + 3.0, "boxes differ by 3"),
        ("boxes", lambda boxes: boxes[..., [1, 0, 3, 2]], "boxes differ"),
        ("boxes", lambda boxes: boxes * float("nan"), "boxes differ by inf"),
        ("scores", lambda scores: scores * 1.1, "scores differ by 0.0"),
        ("labels", lambda labels: (labels + 1) % 5, "labels are of other classes"),
        ("masks", lambda masks: masks.transpose(2, 3), "masks differ by 0."),
        ("keypoints", lambda points: points + torch.tensor([9, 0, 0]), "keypoints differ by"),
        ("keypoints", lambda points: points + torch.tensor([0, 0, 0.1]), "logits of keypoints differ by 0.1"),
        ("count", lambda count: count * 0, "count is 0 instead of 40"),
        ("count", lambda count: torch.tensor([40, 1]), "count is 1 instead of 0"),
    ],
)
def test_the_output_at_fault_is_named(answers, name, change, found):
    assert found in unequal_detections(changed(answers, name, change), answers, EXACT)


def test_one_more_detection_is_paired_once(answers):
    def doubled(values):
        return torch.cat((values[:, :1], values[:, :-1]), dim=1)

    given = {name: doubled(values) if name != "count" else values for name, values in answers.items()}
    assert unequal_detections(given, answers, EXACT) is None  # one of forty
    for _ in range(4):
        given = {name: doubled(values) if name != "count" else values for name, values in given.items()}
    assert unequal_detections(given, answers, EXACT) is not None


def test_other_outputs_are_compared_number_for_number():
    own = {"logits": torch.tensor([[0.0, 200.0]])}
    assert unequal_numbers({"logits": torch.tensor([[0.1, 200.0]])}, own, EXACT) is None
    assert unequal_numbers({"logits": torch.tensor([[0.0, 201.0]])}, own, EXACT) == "logits differs by 1"
    assert unequal_numbers({"logits": torch.ones(2, 1)}, own, EXACT) == "logits has the shape (2, 1) instead of (1, 2)"
    assert unequal_numbers({"logits": own["logits"] * float("nan")}, own, EXACT) == "logits differs by nan"
