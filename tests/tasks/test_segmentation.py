"""The task of label maps: what comes back of the truth, and how outputs and answers differ."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.preprocess import Batch, CenterCrop, OriginalSize, Square
from detkit.structures import Category, SemanticMap, Target
from detkit.tasks import Segmentation
from detkit.tasks.differences.map_differences import MapDifferences
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.testing import check_task

CATEGORIES = [Category(1, "road"), Category(2, "sky"), Category(3, "person")]
EXACT = Tolerance(1e-3, 0.1)


def label_map(rows):
    return torch.tensor(rows, dtype=torch.uint8)


def test_keeps_to_the_contract_of_tasks():
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (30, 40), dtype=torch.uint8)
    image, target = np.full((30, 40, 3), 90, np.uint8), Target(label_map=labels)
    check_task(Segmentation(), image, SemanticMap(labels), CATEGORIES, target)


def test_data_of_a_single_class_is_refused():
    dataset = SimpleNamespace(packed_annotations=None, annotations_path="cells.json")
    model = SimpleNamespace(learns_from={"label_map"})
    with pytest.raises(InputError, match=r"cells\.json has the single class 'cell'.*make the background a class too"):
        Segmentation().check_data(model, SimpleNamespace(train_dataset=dataset, categories=[Category(1, "cell")]))
    Segmentation().check_data(model, SimpleNamespace(train_dataset=dataset, categories=CATEGORIES))


class TestRecovered:
    def test_is_the_iou_of_each_class_of_the_truth(self):
        target = Target(label_map=label_map([[0, 0, 0, 2], [0, 0, 2, 255]]))
        found = Segmentation().recovered(target, SemanticMap(label_map([[0, 0, 1, 2], [0, 0, 0, 1]])))
        assert found.labels.tolist() == [0, 2]
        assert found.overlaps.tolist() == pytest.approx([4 / 6, 1 / 2])
        assert found.rows.tolist() == [0, 2]

    def test_names_a_class_that_is_not_in_the_answer(self):
        found = Segmentation().recovered(Target(label_map=label_map([[0, 1]])), SemanticMap(label_map([[0, 0]])))
        assert found.rows.tolist() == [0, -1]
        assert found.overlaps.tolist() == [0.5, 0]

    def test_is_empty_where_no_pixel_has_a_class(self):
        answer = SemanticMap(label_map([[0, 0]]))
        assert len(Segmentation().recovered(Target(label_map=label_map([[255, 255]])), answer)) == 0
        assert len(Segmentation().recovered(Target(), answer)) == 0


def test_results_are_pixels_and_shares():
    answer = SemanticMap(label_map([[0, 0, 0, 2], [0, 0, 2, 255]]))
    assert Segmentation().results(answer, CATEGORIES) == [
        {"category_id": 1, "category": "road", "pixels": 5, "share": 0.625},
        {"category_id": 3, "category": "person", "pixels": 2, "share": 0.25},
    ]


def outputs(seed=0, scale=1.0):
    torch.manual_seed(seed)
    logits = scale * torch.randn(2, 3, 6, 7)
    labels = F.interpolate(logits, size=(24, 28), mode="bilinear").argmax(dim=1).to(torch.uint8)
    return {"label_map": labels, "logits": logits}


class TestOutputs:
    def test_agree_but_for_rounding(self):
        own = outputs()
        noisy = own["logits"] + 1e-5 * torch.randn_like(own["logits"])
        labels = F.interpolate(noisy, size=(24, 28), mode="bilinear").argmax(dim=1).to(torch.uint8)
        assert Segmentation().outputs_differ({"label_map": labels, "logits": noisy}, own, EXACT) is None

    def test_a_class_may_differ_where_logits_are_equal(self):
        own = outputs()
        own["logits"][:, 1] = own["logits"][:, 0]
        own["logits"][:, 2] -= 20
        own["label_map"] = torch.zeros_like(own["label_map"])
        given = {**own, "label_map": torch.ones_like(own["label_map"])}
        assert Segmentation().outputs_differ(given, own, EXACT) is None
        given["label_map"][0, 0, 0] = 2
        assert Segmentation().outputs_differ(given, own, EXACT) == "label_map differs in 1 of 1344 pixels"

    def test_one_wrong_pixel_is_found(self):
        own = outputs()
        gaps = F.interpolate(own["logits"], size=(24, 28), mode="bilinear").topk(2, dim=1).values.diff(dim=1)
        image, _, row, column = (gaps == gaps.min()).nonzero()[0].tolist()  # the most certain pixel
        given = {**own, "label_map": own["label_map"].clone()}
        given["label_map"][image, row, column] = (own["label_map"][image, row, column] + 1) % 3
        assert "label_map differs in 1 of 1344 pixels" in Segmentation().outputs_differ(given, own, EXACT)
        given["label_map"][image, row, column] = 255
        assert "label_map differs in 1 of 1344 pixels" in Segmentation().outputs_differ(given, own, EXACT)

    def test_other_logits_and_shapes_are_found(self):
        own = outputs()
        assert "logits differs" in Segmentation().outputs_differ({**own, "logits": own["logits"] * 1.1}, own, EXACT)
        given = {**own, "label_map": own["label_map"][:, 1:]}
        assert "label_map has the shape (2, 23, 28)" in Segmentation().outputs_differ(given, own, EXACT)


@pytest.mark.parametrize("preprocess", [OriginalSize(), Square(32), CenterCrop((16, 16), shorter_side=20)])
def test_exported_answers_are_those_that_the_model_decodes(preprocess):
    from detkit.heads.pixel.pixel_head import restored_labels

    images = [torch.rand(3, 24, 28), torch.rand(3, 20, 18)]
    batch: Batch = preprocess(images)
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 6, 7)
    full = F.interpolate(logits, size=batch.padded_size, mode="bilinear")
    given = {"label_map": full.argmax(dim=1).to(torch.uint8), "logits": logits}
    answers = Segmentation().exported_answers(None, given, batch)
    for answer, expected in zip(answers, restored_labels(full, batch), strict=True):
        assert torch.equal(answer.label_map, expected.label_map)


class TestDifferences:
    def test_of_equal_maps_are_none(self):
        collected = MapDifferences(CATEGORIES)
        answer = SemanticMap(label_map([[0, 1], [2, 255]]))
        collected.add("a", (2, 2), answer, answer)
        found = collected.result()
        assert found.agree
        assert found.predictions == 4

    def test_are_counted_and_placed(self):
        collected = MapDifferences(CATEGORIES)
        first = torch.zeros(10, 10, dtype=torch.uint8)
        second = first.clone()
        second[3, 4:7] = 2
        collected.add("a", (10, 10), SemanticMap(first), SemanticMap(first))
        collected.add("b", (10, 10), SemanticMap(first), SemanticMap(second))
        found = collected.result()
        (one,) = found.largest
        assert (one.image, one.size, one.beyond) == ("b", 0.03, 3)
        assert one.where == "person in place of road in 3 pixels, such as (4, 3)"
        assert found.mismatches == 3
        assert found.counts == {"pixels": 200, "of another class": 3}
        assert not found.causes

    def test_name_classes_that_are_swapped(self):
        collected = MapDifferences(CATEGORIES)
        first = torch.zeros(10, 10, dtype=torch.uint8)
        first[:, 5:] = 1
        collected.add("a", (10, 10), SemanticMap(first), SemanticMap(1 - first))
        (cause,) = collected.result().causes
        assert cause == "classes are swapped: road is sky in 50 of 50 pixels, sky is road in 50 of 50 pixels"

    def test_of_other_sizes_are_all_pixels(self):
        collected = MapDifferences(CATEGORIES)
        first = torch.zeros(4, 5, dtype=torch.uint8)
        collected.add("a", (4, 5), SemanticMap(first), SemanticMap(first.T))
        assert collected.result().mismatches == 20
