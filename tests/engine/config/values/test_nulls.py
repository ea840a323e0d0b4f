"""A null stands only where a type has None."""

import pytest

from detkit.engine.commands.train import training_arguments
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.errors import InputError

MODEL = "--model={class_path: FCOS, init_args: {backbone: DarknetTiny, neck: {class_path: FPN, init_args: %s}}}"


def parse(*argv):
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    return ParsedCommand.of(parser, [MODEL % "{extra_levels: null}", *argv]).config


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--data.batch_size=null", "data.batch_size"),
        ("--pictures=null", "pictures"),
        ("--trainer.detect_anomaly=null", "trainer.detect_anomaly"),
        ("--data.augmentation={class_path: Augmentation, init_args: {hue: null}}", "data.augmentation.init_args.hue"),
        ("--optimizer.init_args.nesterov=null", "optimizer.init_args.nesterov"),
        ("--schedule={class_path: WarmupCosine, init_args: {warmup_steps: null}}", "schedule.init_args.warmup_steps"),
        (MODEL % "{out_channels: null}", "model.init_args.neck.init_args.out_channels"),
    ],
)
def test_a_null_without_a_meaning_names_its_key(option, key):
    with pytest.raises(InputError, match=rf"{key} (cannot be null|must be .*not None)"):
        parse(option)


def test_a_null_with_a_meaning_is_taken():
    config = parse("--data.augmentation=null", "--schedule=null", "--trainer.max_time=null")
    assert (config.data.augmentation, config.schedule, config.model.init_args.neck.init_args.extra_levels) == (
        None,
    ) * 3


@pytest.mark.parametrize("option", [["--model.backbone.weights", "null"], ["--model.backbone.init_args.weights=null"]])
def test_a_null_on_the_command_line_is_none(option):
    """jsonargparse makes the text ``None`` of it, which would be a file's name."""
    parsed = training_arguments(["faster_rcnn_mobilenet_v2_fpn", *option])
    assert parsed.config["model.init_args.backbone.init_args.weights"] is None


def test_a_text_of_that_spelling_stays_where_none_is_no_value():
    parsed = training_arguments(["faster_rcnn_mobilenet_v2_fpn", "--model.backbone.name", "None"])
    assert parsed.config["model.init_args.backbone.init_args.name"] == "None"
