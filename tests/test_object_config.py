"""The config of an object, of what its attributes say."""

import threading

import pytest

from detkit.errors import InputError
from detkit.heads import NMS, RegionSampler
from detkit.matching import Matcher
from detkit.object_config import plain, recipe_of
from detkit.preprocess import Square

NUMBERS = ("score_threshold", "iou_threshold", "candidates", "detections")


def test_an_object_is_its_class_and_arguments():
    path = "detkit.heads.postprocess.suppression.NMS"
    recipe = {"class_path": path, "init_args": dict.fromkeys(NUMBERS) | {"candidates": 7}}
    assert recipe_of(NMS(candidates=7)) == plain(NMS(candidates=7)) == recipe
    assert plain([NMS(candidates=7)]) == [recipe]


def test_objects_within_objects():
    recipe = plain(RegionSampler(matcher=Matcher(0.6, 0.4)))
    matcher = recipe["init_args"]["matcher"]
    assert matcher["class_path"].endswith(".Matcher")
    assert matcher["init_args"]["foreground_iou"] == 0.6


@pytest.mark.parametrize("value", [threading.Lock(), lambda: 3, iter([])])
def test_what_no_config_says_is_refused(value):
    with pytest.raises(InputError, match="has no config"):
        plain(value)


def test_buffers_are_said_too():
    init_args = plain(Square(32, mean=(0.1, 0.2, 0.3)))["init_args"]
    assert (init_args["size"], init_args["mean"]) == (32, [0.1, 0.2, 0.3])
