"""What is written of a config builds the same when a head's own numbers are others."""

import pytest
import yaml

from detkit.data import Augmentation
from detkit.engine.config.parser import command_parser
from detkit.heads import OverFeatHead, RetinaNetHead
from detkit.models import VisionModel

RETINANET = {
    "class_path": "RetinaNet",
    "init_args": {
        "backbone": {"class_path": "TorchvisionBackbone", "init_args": {"name": "squeezenet1_1", "stages": [2, 3]}},
        "num_classes": 2,
    },
}
OWN = {"score_threshold": 0.05, "iou_threshold": 0.5, "candidates": 1000, "detections": 100}


@pytest.fixture
def parser():
    parser = command_parser("train", "", "")
    parser.add_subclass_arguments(VisionModel, "model", required=True)
    return parser


def _written(parser, head):
    config = {**RETINANET, "init_args": {**RETINANET["init_args"], **({} if head is None else {"head": head})}}
    dumped = parser.dump(parser.parse_object({"model": config}), skip_unset=False)
    return yaml.safe_load(dumped)["model"]["init_args"]["head"]["init_args"]["postprocess"]


@pytest.mark.parametrize(
    ("given", "part", "values"),
    [
        (None, "NMS", OWN),
        ({"class_path": "NMS", "init_args": {"detections": 7}}, "NMS", OWN | {"detections": 7}),
        ({"class_path": "SoftNMS"}, "SoftNMS", OWN | {"method": "linear", "sigma": 0.5}),
        ({"class_path": "TopK"}, "TopK", {name: value for name, value in OWN.items() if name != "iou_threshold"}),
    ],
)
def test_the_values_of_a_head_are_written(parser, given, part, values):
    written = _written(parser, {"class_path": "RetinaNetHead", "init_args": {"postprocess": given}})
    assert written["class_path"].rpartition(".")[2] == part
    assert written["init_args"] == values


def test_of_the_head_that_a_model_has_by_default(parser):
    assert _written(parser, {"class_path": "RetinaNetHead"})["init_args"] == OWN


def test_a_head_that_merges(parser):
    written = _written(parser, {"class_path": "OverFeatHead"})
    assert written["class_path"].endswith(".MergeBoxes")
    assert written["init_args"] == {
        "score_threshold": 0.05, "match_threshold": 0.5, "candidates": 300, "detections": 100
    }  # fmt: skip
    assert written["init_args"]["score_threshold"] == OverFeatHead.own_values["postprocess"]["score_threshold"]


def test_what_is_written_builds_the_same(parser, monkeypatch):
    config = parser.parse_object({"model": {**RETINANET}})
    head = parser.instantiate(config).model.head
    again = parser.parse_string(parser.dump(config, skip_unset=False))
    monkeypatch.setitem(RetinaNetHead.own_values["postprocess"], "score_threshold", 0.9)
    assert vars(parser.instantiate(again).model.head.postprocess) == vars(head.postprocess)


def test_tuples_are_written_as_lists_without_a_word(recwarn):
    parser = command_parser("train", "", "")
    parser.add_subclass_arguments(Augmentation, "augmentation", required=True)
    transforms = [{"class_path": "detkit.data.Expand"}]
    config = {"augmentation": {"class_path": "Augmentation", "init_args": {"transforms": transforms}}}
    dumped = parser.dump(parser.parse_object(config), skip_unset=False, skip_validation=True)
    (written,) = yaml.safe_load(dumped)["augmentation"]["init_args"]["transforms"]
    assert written["init_args"]["fill"] == [123.0, 117.0, 104.0]
    assert not [str(one.message) for one in recwarn if "round-trip" in str(one.message)]
