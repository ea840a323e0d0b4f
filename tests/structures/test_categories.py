"""Classes, their keypoints, and how files hold them."""

import copy
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from detkit.data import CocoDataset, ShapesOptions, draw_shapes, find_split
from detkit.engine.checkpoint import categories_of, model_record
from detkit.errors import InputError
from detkit.evaluation.coco.coco_evaluation import sigmas_of
from detkit.evaluation.coco.protocol import PERSON_SIGMAS
from detkit.models import VisionModel
from detkit.structures import Category
from detkit.structures.categories import PERSON_KEYPOINTS, entries_in, from_coco, keypoint_category, to_coco

DOG = Category(3, "dog", True, (10, 20, 30), ("nose", "left_ear", "right_ear"), None, ((0, 1), (0, 2)), (0.1, 0.2, 0.2))
ALL = [Category(1, "cat"), DOG, Category(9, "sky", is_thing=False), Category(11, "person", keypoints=PERSON_KEYPOINTS)]


class TestCategory:
    def test_id_and_name_are_enough(self):
        plain = Category(3, "cat")
        assert (plain.id, plain.name, plain.is_thing, plain.color) == (3, "cat", True, None)
        assert (plain.keypoints, plain.swap_pairs, plain.skeleton, plain.sigmas) == ((), (), (), None)

    def test_lists_are_taken_and_it_stays_hashable(self):
        listed = Category(3, "dog", True, [10, 20, 30], ["nose", "left_ear", "right_ear"], None, [[0, 1], [0, 2]],
                          [0.1, 0.2, 0.2])  # fmt: skip
        assert listed == DOG
        assert hash(listed) == hash(DOG)
        assert pickle.loads(pickle.dumps(DOG)) == DOG

    def test_left_and_right_change_places(self):
        assert DOG.swap_pairs == ((1, 2),)
        assert Category(1, "a", keypoints=("left", "top"), swap_pairs=((0, 1),)).swap_pairs == ((0, 1),)
        assert Category(1, "a", keypoints=("left", "right"), swap_pairs=()).swap_pairs == ()

    def test_a_person_of_coco_has_its_sigmas(self):
        assert np.array_equal(Category(1, "person", keypoints=PERSON_KEYPOINTS).sigmas, PERSON_SIGMAS)
        assert len(Category(1, "person", keypoints=PERSON_KEYPOINTS).swap_pairs) == 8
        assert Category(1, "person", keypoints=PERSON_KEYPOINTS[::-1]).sigmas is None

    @pytest.mark.parametrize("wrong", [{"swap_pairs": ((0, 3),)}, {"skeleton": ((0, 1, 2),)}, {"sigmas": (0.1,)}])
    def test_what_fits_no_keypoints_is_refused(self, wrong: dict):
        with pytest.raises(ValueError, match="category 'dog'"):
            Category(3, "dog", keypoints=("a", "b", "c"), **wrong)

    def test_the_first_with_keypoints_has_those_of_the_data(self):
        assert keypoint_category(ALL) == DOG
        assert keypoint_category(ALL[:1]) is None


class TestFiles:
    def test_a_coco_file_holds_all_of_it(self):
        for category in ALL:
            assert from_coco(json.loads(json.dumps(to_coco(category))), "x.json") == category
        assert to_coco(DOG)["skeleton"] == [[1, 2], [1, 3]]
        assert to_coco(ALL[2])["isthing"] == 0
        assert to_coco(ALL[0]) == {"id": 1, "name": "cat"}

    def test_what_other_programs_write_wrong_is_left_out_with_a_warning(self, caplog):
        entry = {"id": 1, "name": "a", "keypoints": ["x", "y"], "skeleton": [[0, 1]], "color": "#ff0000", "sigmas": [1]}
        with caplog.at_level(logging.WARNING):
            assert from_coco(entry, "x.json") == Category(1, "a", keypoints=("x", "y"))
        assert len(caplog.records) == 3
        assert all("x.json" in record.getMessage() for record in caplog.records)

    def test_a_checkpoint_holds_all_of_it(self):
        record = model_record({"class_path": "x"}, ALL)
        assert categories_of({"detkit": json.loads(json.dumps(record))}) == ALL
        assert categories_of({"detkit": {"categories": [{"id": 3, "name": "cat"}]}}) == [Category(3, "cat")]

    def test_shapes_write_their_own(self, tmp_path: Path):
        root = draw_shapes(tmp_path / "shapes", ShapesOptions({"train": 1}, (48, 64)))
        dataset = CocoDataset(*find_split(root, "train"), reads={"keypoints"})
        star = next(category for category in dataset.categories if category.name == "star")
        assert star.keypoints == ("centre", "top", "right", "bottom", "left")
        assert star.swap_pairs == ((2, 4),) or star.swap_pairs == ((4, 2),)
        assert star.sigmas == (0.1,) * 5
        assert len(star.skeleton) == 4
        assert star.color is not None
        assert dataset.keypoint_pairs == list(star.swap_pairs)


class TestEntriesIn:
    CATEGORIES = [{"id": 7, "name": "b]"}, {"id": 3, "name": "a", "keypoints": ["x"]}]  # noqa: RUF012

    @pytest.mark.parametrize("first", [True, False])
    def test_are_found_without_the_rest(self, first: bool):
        rest = {"images": [{"id": n, "file_name": "x" * 50} for n in range(3000)]}
        content = {"categories": self.CATEGORIES, **rest} if first else {**rest, "categories": self.CATEGORIES}
        result = entries_in(json.dumps(content, indent=1).encode())
        assert [entry["id"] for entry in result] == [3, 7]

    @pytest.mark.parametrize(
        "content",
        [
            b"{}",
            b'{"categories": []}',
            b'{"categories": [{"id": 1}]}',
            b'{"categories": [{"id": 1, "name": "a"',
            b'{"categories": [{"id": 1, "name": "a"}], "info": {"categories": []}}',
        ],
    )
    def test_what_is_unusual_is_left_to_the_reader_of_all(self, content: bytes):
        assert entries_in(content) is None


class TestSigmas:
    def test_given_ones_come_first_then_the_categories_then_cocos(self):
        assert sigmas_of([0.5], ALL).tolist() == [0.5]
        assert sigmas_of(None, ALL).tolist() == [0.1, 0.2, 0.2]
        assert np.array_equal(sigmas_of(None, ALL[:1]), PERSON_SIGMAS)
        assert np.array_equal(sigmas_of(None), PERSON_SIGMAS)


class TestCategoriesOfAModel:
    """What a model is told of its classes."""

    @pytest.fixture
    def model(self):
        return VisionModel(2)

    def test_are_those_that_are_set_and_none_before(self, model):
        assert model.categories is None
        model.categories = (Category(7, "cat"), Category(9, "dog"))
        assert model.categories == [Category(7, "cat"), Category(9, "dog")]
        assert copy.deepcopy(model).categories == model.categories
        model.categories = None
        assert model.categories is None

    def test_may_be_names(self, model):
        model.categories = ["cat", "dog"]
        assert model.categories == [Category(1, "cat"), Category(2, "dog")]

    @pytest.mark.parametrize("given", ["cat", [3], ["cat", None]])
    def test_are_nothing_else(self, model, given):
        with pytest.raises(InputError, match=r"Category or a name|list of categories"):
            model.categories = given


def test_an_id_of_numpy_is_an_integer():
    assert type(Category(np.int64(3), "cat").id) is int
