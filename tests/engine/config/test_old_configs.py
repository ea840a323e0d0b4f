"""Configs, checkpoints and arguments of the release before mean what they meant."""

import warnings
from functools import partial

import pytest
import torch
import yaml

from detkit import backbones
from detkit.backbones import TimmBackbone
from detkit.deprecation import OldName
from detkit.engine.checkpoint import build_model
from detkit.engine.config.old_configs import modernize, modernize_arguments
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.errors import InputError
from detkit.files import read_yaml
from detkit.heads import NMS, MergeBoxes, OverFeatHead, RetinaNetHead, SoftNMS, SSDliteHead
from detkit.models import RetinaNet
from detkit.recipes import recipe_names, recipe_path

BACKBONE = {"class_path": "TimmBackbone", "init_args": {"name": "resnet10t"}}
OLD = {"score_threshold": 0.3, "nms_threshold": 0.6, "candidates": 50, "detections": 7}
NEW = {"score_threshold": 0.3, "iou_threshold": 0.6, "candidates": 50, "detections": 7}

# An RPN had thresholds for training beside those for detection; two of them were for both.
OLD_OF_RPN = {"nms_threshold": 0.6, "score_threshold": 0.1, "proposals": 8, "candidates_for_training": 60}
DETECTING = {"iou_threshold": 0.6, "score_threshold": 0.1, "detections": 8, "candidates": None}
TRAINING = {"iou_threshold": 0.6, "score_threshold": 0.1, "detections": None, "candidates": 60}
OLD_OF_BOXES = {"score_threshold": 0.2, "detections_per_image": 9}


def _model(head=None, name="RetinaNet"):
    return {"class_path": f"detkit.models.{name}", "init_args": {"backbone": BACKBONE, "head": head or {}}}


def _numbers(part):
    return {name: getattr(part, name) for name in NEW}


class TestModernize:
    @pytest.mark.parametrize(
        "head",
        [{"class_path": "RetinaNetHead", "init_args": OLD}, {"init_args": OLD}, OLD],
        ids=["named", "by default", "its arguments alone"],
    )
    def test_thresholds_of_a_head_stand_in_its_postprocess(self, head):
        with pytest.warns(DeprecationWarning, match="postprocess") as warned:
            modern = modernize({"model": _model(head)})
        init_args = modern["model"]["init_args"]["head"]["init_args"]
        assert init_args == {"postprocess": {"class_path": "detkit.heads.NMS", "init_args": NEW}}
        assert len(warned) == 4
        assert "RetinaNetHead(postprocess=NMS(iou_threshold=...)) now" in " ".join(str(one.message) for one in warned)

    def test_what_is_written_as_now_stays(self):
        part = {"class_path": "SoftNMS", "init_args": {"score_threshold": 0.1, "sigma": 0.3}}
        config = _model({"class_path": "RetinaNetHead", "init_args": {"postprocess": part, "convolutions": 2}})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert modernize(config) == config

    def test_a_head_of_ones_own_keeps_its_arguments(self):
        config = _model({"class_path": "my_package.Head", "init_args": OLD})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert modernize(config) == config

    @pytest.mark.parametrize(
        ("old", "part", "new"),
        [
            ({"resolve": "nms", "nms_threshold": 0.3, "candidates": 9}, "NMS", {"iou_threshold": 0.3}),
            ({"nms_threshold": 0.3, "candidates": 9}, "MergeBoxes", {"candidates": 9}),
            (
                {"resolve": "merge", "match_threshold": 0.7, "detections_per_image": 3},
                "MergeBoxes",
                {"match_threshold": 0.7, "detections": 3},
            ),
        ],
    )
    def test_overfeat_merges_unless_it_said_nms(self, old, part, new):
        with pytest.warns(DeprecationWarning, match="postprocess"):
            modern = modernize(_model({"class_path": "OverFeatHead", "init_args": old}, "OverFeat"))
        postprocess = modern["init_args"]["head"]["init_args"]["postprocess"]
        assert postprocess == {"class_path": f"detkit.heads.{part}", "init_args": new}

    def test_an_rpn_has_numbers_for_training_of_its_own(self):
        old = {"nms_threshold": 0.6, "candidates": 50, "proposals_for_training": 20, "foreground_iou": 0.8}
        with pytest.warns(DeprecationWarning, match="postprocess_for_training"):
            modern = modernize(_model(name="FasterRCNN") | {"init_args": {"rpn": {"init_args": old}}})
        assert modern["init_args"]["rpn"]["init_args"] == {
            "foreground_iou": 0.8,
            "postprocess": {"class_path": "detkit.heads.NMS", "init_args": {"iou_threshold": 0.6, "candidates": 50}},
            "postprocess_for_training": {
                "class_path": "detkit.heads.NMS",
                "init_args": {"iou_threshold": 0.6, "detections": 20},
            },
        }


class TestRegionHeads:
    def _config(self, rpn, box_head):
        parts = {"backbone": BACKBONE, "num_classes": 2, "rpn": rpn, "box_head": box_head}
        return {"class_path": "FasterRCNN", "init_args": parts}

    @pytest.mark.parametrize("named", [True, False])
    def test_are_built_from_checkpoints_of_before(self, named):
        rpn, box_head = (
            {"class_path": "RPN", "init_args": OLD_OF_RPN},
            {"class_path": "BoxHead", "init_args": OLD_OF_BOXES},
        )
        config = self._config(rpn, box_head) if named else self._config(OLD_OF_RPN, OLD_OF_BOXES)
        with pytest.warns(DeprecationWarning, match="postprocess"):
            model = build_model(config, (), "old.ckpt")
        assert _numbers(model.rpn.postprocess) == DETECTING | {"candidates": 1000}
        assert _numbers(model.rpn.postprocess_for_training) == TRAINING | {"detections": 2000}
        assert (model.box_head.postprocess.score_threshold, model.box_head.postprocess.detections) == (0.2, 9)

    def test_keep_what_is_written_as_now(self):
        part = {"class_path": "SoftNMS", "init_args": {"sigma": 0.3}}
        config = self._config({"class_path": "RPN", "init_args": {"postprocess": part, "proposals": 5}}, {})
        with pytest.warns(DeprecationWarning, match="RPN.proposals=...."):
            rpn = modernize({"model": config})["model"]["init_args"]["rpn"]
        assert rpn["init_args"]["postprocess"]["init_args"] == {"detections": 5, "sigma": 0.3}
        assert rpn["init_args"]["postprocess"]["class_path"] == "SoftNMS"

    def test_take_options_of_before(self):
        argv = [
            "--model.rpn.nms_threshold",
            "0.6",
            "--model.rpn.init_args.proposals=8",
            "--model.box_head.nms_threshold=0.4",
        ]
        with pytest.warns(DeprecationWarning, match="now$"):
            modern = modernize_arguments(argv)
        assert modern == [
            "--model.rpn.postprocess.iou_threshold=0.6",
            "--model.rpn.postprocess_for_training.iou_threshold=0.6",
            "--model.rpn.postprocess.detections=8",
            "--model.box_head.postprocess.iou_threshold=0.4",
        ]


class TestCheckpoints:
    def test_of_before_are_built(self):
        config = _model({"class_path": "RetinaNetHead", "init_args": OLD | {"convolutions": 1}})
        config["init_args"]["num_classes"] = 2
        with pytest.warns(DeprecationWarning, match="postprocess"):
            model = build_model(config, (), "old.ckpt")
        assert _numbers(model.head.postprocess) == NEW
        assert model.head.postprocess.candidates_of == "level"


class TestCommands:
    def _head(self, tmp_path, head, *argv):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"model": _model(head), "data": {"root": "data"}}))
        parser = command_parser("train", "", "")
        add_training_arguments(parser)
        return parse(parser, ["--config", str(path), *argv]).model.init_args.head.init_args.postprocess

    def test_read_files_of_before(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="postprocess"):
            part = self._head(tmp_path, {"class_path": "RetinaNetHead", "init_args": OLD})
        assert part.init_args.as_dict() == NEW

    @pytest.mark.parametrize(
        "argv",
        [
            ["--model.head.nms_threshold", "0.7"],
            ["--model.init_args.head.init_args.nms_threshold=0.7"],
            ["--model.head.postprocess.iou_threshold", "0.7"],
        ],
    )
    def test_take_options_of_before_and_of_now(self, tmp_path, argv):
        head = {"class_path": "RetinaNetHead", "init_args": {"postprocess": {"class_path": "SoftNMS"}}}
        part = self._head(tmp_path, head, *argv)
        assert part.class_path == "detkit.heads.SoftNMS"
        assert part.init_args.iou_threshold == 0.7

    def test_a_part_is_changed_without_its_class(self, tmp_path):
        part = self._head(tmp_path, {}, "--model.head.postprocess.detections", "5")
        assert part.class_path == "detkit.heads.NMS"
        assert part.init_args.as_dict() == dict.fromkeys(NEW) | {"detections": 5}

    def test_an_unknown_part_is_named_with_those_there_are(self, tmp_path):
        with pytest.raises(InputError, match=r"postprocess cannot be SoftNMSS.*did you mean SoftNMS"):
            self._head(tmp_path, {}, "--model.head.postprocess", "SoftNMSS")

    def test_an_option_of_an_rpn_is_for_training_as_well(self):
        with pytest.warns(DeprecationWarning, match=r"--model.rpn.nms_threshold is .* now"):
            modern = modernize_arguments(["--model.rpn.nms_threshold", "0.6"])
        assert modern == [
            "--model.rpn.postprocess.iou_threshold=0.6",
            "--model.rpn.postprocess_for_training.iou_threshold=0.6",
        ]

    def test_options_that_are_not_old_stay(self):
        argv = ["--model.head.resolve", "nms", "--name", "x", "--data.root=y", "--model.neck.candidates", "3"]
        with pytest.warns(DeprecationWarning, match=r"--model.head.resolve is --model.head.postprocess now"):
            modern = modernize_arguments(argv)
        assert modern == ["--model.head.postprocess=NMS", *argv[2:]]


class TestRenamedClasses:
    @pytest.mark.parametrize("package", ["", "detkit.backbones.", "detkit.backbones.darknet."])
    def test_have_their_current_names_in_configs(self, package):
        with pytest.warns(DeprecationWarning, match=f"{package}YOLOv1Trunk is {package}YOLOv1Backbone now"):
            modern = modernize({"model": {"backbone": {"class_path": f"{package}YOLOv1Trunk"}}})
        assert modern == {"model": {"backbone": {"class_path": f"{package}YOLOv1Backbone"}}}

    def test_of_other_packages_stay(self):
        config = {"model": {"backbone": {"class_path": "my_package.YOLOv1Trunk"}}}
        assert modernize(config) == config

    def test_have_their_current_names_in_options(self):
        with pytest.warns(DeprecationWarning, match="--model.backbone is --model.backbone=YOLOv1Backbone now"):
            assert modernize_arguments(["--model.backbone", "YOLOv1Trunk"]) == ["--model.backbone=YOLOv1Backbone"]

    def test_are_imported_by_their_old_names(self):
        with pytest.warns(DeprecationWarning, match=r"^YOLOv1Trunk is detkit\.backbones\.YOLOv1Backbone now$"):
            assert backbones.YOLOv1Trunk is backbones.YOLOv1Backbone


def test_parts_in_a_list_have_their_current_arguments():
    with pytest.warns(DeprecationWarning, match="data.mixing.centre of Mosaic is center now"):
        modern = modernize({"data": {"mixing": [{"class_path": "Mosaic", "init_args": {"centre": 0.3}}]}})
    assert modern == {"data": {"mixing": [{"class_path": "Mosaic", "init_args": {"center": 0.3}}]}}


class TestPython:
    def test_old_arguments_of_a_head_work_and_warn(self):
        with pytest.warns(DeprecationWarning, match="RetinaNetHead"):
            head = RetinaNetHead([4], [8], 2, convolutions=1, **OLD)
        assert _numbers(head.postprocess) == NEW

    def test_they_work_through_a_partial_and_for_a_subclass(self):
        with pytest.warns(DeprecationWarning, match="SSDliteHead"):
            head = partial(SSDliteHead, nms_threshold=0.6)([4], [8], 2)
        assert (head.postprocess.iou_threshold, head.postprocess.score_threshold) == (0.6, 0.001)
        model = RetinaNet(TimmBackbone("resnet10t", stages=[3, 4, 5]), 2, head=partial(RetinaNetHead, detections=3))
        assert model.head.postprocess.detections == 3

    def test_they_change_a_part_that_is_given_too(self):
        part = SoftNMS(sigma=0.3)
        with pytest.warns(DeprecationWarning, match="postprocess"):
            head = RetinaNetHead([4], [8], 2, convolutions=1, postprocess=part, score_threshold=0.2)
        assert (head.postprocess.sigma, head.postprocess.score_threshold) == (0.3, 0.2)
        assert part.score_threshold is None

    @pytest.mark.parametrize(("resolve", "kind", "candidates"), [("nms", NMS, None), ("merge", MergeBoxes, 9)])
    def test_overfeat_merges_unless_it_says_nms(self, resolve, kind, candidates):
        with pytest.warns(DeprecationWarning, match="postprocess"):
            head = OverFeatHead([4], [8], 2, class_hidden=(4,), box_hidden=(4,), resolve=resolve, candidates=9)
        assert type(head.postprocess) is kind
        assert head.postprocess.candidates == candidates

    def test_a_wrong_argument_is_still_wrong(self):
        with pytest.raises(TypeError, match="score_treshold"):
            RetinaNetHead([4], [8], 2, score_treshold=0.2)


def test_a_config_of_before_detects_the_same():
    torch.manual_seed(0)
    images = [torch.rand(3, 60, 80)]
    detections = []
    for head in (OLD, {"postprocess": {"class_path": "NMS", "init_args": NEW}}):
        config = _model({"class_path": "RetinaNetHead", "init_args": {"convolutions": 1} | head})
        small = {"class_path": "ShortestEdge", "init_args": {"min_size": 96, "max_size": 128}}
        config["init_args"] |= {"num_classes": 2, "preprocess": small}
        torch.manual_seed(1)
        model = build_model(config, (), "some.ckpt")
        model.head.classes.bias.data.zero_()
        detections.append(model.predict(images)[0])
    assert len(detections[0]) == 7
    assert torch.equal(detections[0].boxes, detections[1].boxes)


def test_who_runs_a_command_is_told_of_each_old_key_once(recipe, detkit_command, caplog):
    config = recipe(data={"with_masks": True, "with_keypoints": False})
    status, said = detkit_command("train", "--config", config, "--trainer.max_epochs", "1")
    assert status == 0, said
    told = [record.getMessage() for record in caplog.records if "not needed" in record.getMessage()]
    assert len(told) == 2
    assert any("data.reads: [masks]" in message for message in told)


def test_old_keys_of_classes_in_a_list_are_translated():
    mixing = [{"class_path": "Mosaic", "init_args": {"centre": 0.4}}, "MixUp"]
    with pytest.warns(OldName, match=r"^data\.mixing\.centre of Mosaic is center now$"):
        modern = modernize({"data": {"mixing": mixing}})
    assert modern == {"data": {"mixing": [{"class_path": "Mosaic", "init_args": {"center": 0.4}}, "MixUp"]}}


@pytest.mark.parametrize(
    ("option", "now"),
    [
        ("--data.mixing.centre", "--data.mixing.center"),
        ("--data.mixing.init_args.centre", "--data.mixing.init_args.center"),
        ("--model.backbone.trunk", "--model.backbone.backbone"),
        ("--model.neck.extra_levels.from_trunk", "--model.neck.extra_levels.from_backbone"),
    ],
)
def test_options_of_renamed_arguments_have_their_new_names(option, now):
    with pytest.warns(OldName, match=f"{option} is {now} now"):
        assert modernize_arguments([option, "1"]) == [f"{now}=1"]


def test_an_argument_of_the_same_name_in_another_class_stays():
    argv = ["--model.box_head.trunk", "AveragePool", "--model.box_head.init_args.trunk=AveragePool"]
    assert modernize_arguments(argv) == argv


def test_a_run_may_have_the_name_that_a_class_had():
    assert modernize_arguments(["--name", "YOLOv1Trunk"]) == ["--name", "YOLOv1Trunk"]


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_of_detkit_is_old(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", OldName)
        modernize(read_yaml(recipe_path(name)))
