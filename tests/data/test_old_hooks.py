"""What a user's class overrides under the private name of before still counts, with a warning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.evaluation.image_collector import ImageCollector
from detkit.structures import Classification, Target
from detkit.structures.categories import Category


def test_a_data_set_that_reads_under_the_old_name():
    with pytest.warns(DeprecationWarning, match="Mine._read is deprecated: call it read_annotations"):

        class Mine(DetectionDataset):
            def _read(self, on_bad_image):
                none = np.array([], dtype=np.int64)
                return PackedAnnotations([Category(4, "x")], none, none, none.reshape(0, 2), np.zeros(1, int), {}, [])

    assert Mine(Path(), Path(), (), "error").categories == [Category(4, "x")]


def test_an_evaluator_that_compares_under_the_old_name():
    with pytest.warns(DeprecationWarning, match="Mine._judged is deprecated: call it compare"):

        class Mine(ImageCollector):
            name, reads, headline = "mine", "labels", "right"

            def _judged(self, number, classes, answer):
                return number, classes.tolist()

            def evaluate(self):
                return None

    content = {"categories": [{"id": 4, "name": "x"}], "images": [{"id": 9, "category_id": 4}], "annotations": []}
    evaluator = Mine(content)
    evaluator.update([Target(image_id=9)], [Classification(torch.ones(1), torch.zeros(1, dtype=torch.int64))])
    assert evaluator.kept == {9: (0, [0])}
