"""A recipe as typed objects, and no parsed namespace outside of ``engine/config/``."""

import ast
from pathlib import Path

import pytest

import detkit
from detkit.data import DataModule
from detkit.engine.commands import evaluate
from detkit.engine.commands import train as commands
from detkit.engine.commands.evaluation.evaluation_options import add_arguments as add_evaluation_arguments
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.config.recipe import RunOptions, build_recipe
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.engine.optim import WarmupCosine
from detkit.errors import InputError
from detkit.learners import PlainLearner

PACKAGE = Path(detkit.__file__).parent


def parsed(*argv: str) -> ParsedCommand:
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    return ParsedCommand.of(parser, argv)


class TestRecipe:
    def test_has_typed_sections(self, recipe):
        factors = ("--lr_factors", "{head: 0.5}", "--lr_layer_decay", "{decay: 0.1, parts: [box, head]}")
        made = build_recipe(parsed("--config", recipe(), "--schedule", "WarmupCosine", "--ema", "0.9", *factors))
        assert type(made.model).__name__ == "TinyDetector"
        assert isinstance(made.data, DataModule)
        assert made.model.num_classes == made.data.num_classes == 7
        assert isinstance(made.optimization.learner, PlainLearner)
        assert isinstance(made.optimization.schedule, WarmupCosine)
        assert made.optimization.lr_factors == {"box": pytest.approx(0.01), "head": 0.5}
        assert made.run.ema == 0.9
        assert made.trainer["max_epochs"] == 2
        assert made.evaluators is None

    def test_requests_the_fields_that_the_model_needs(self, recipe):
        made = build_recipe(parsed("--config", recipe()))
        assert made.data.reads >= made.model.learns_from

    def test_resolves_defaults_and_leaves_out_what_is_of_the_command(self, recipe):
        made = build_recipe(parsed("--config", recipe(), "--overwrite"))
        assert made.resolved["learner"]["class_path"] == "detkit.learners.PlainLearner"
        assert not {"config", "overwrite", "resume", "evaluate"} & made.resolved.keys()
        assert made.text.startswith("name: null")

    def test_refuses_another_number_of_classes(self, recipe):
        model = {"class_path": "tiny_detector.TinyDetector", "init_args": {"num_classes": 3}}
        with pytest.raises(InputError, match=r"num_classes is 3, but .* has 7 classes"):
            build_recipe(parsed("--config", recipe(model=model)))


class TestRunOptions:
    @pytest.mark.parametrize(
        ("argv", "folder"),
        [
            (["--name", "mine"], "runs/mine"),
            (["--runs", "elsewhere"], "elsewhere/tiny"),
            (["--resume", "other/last.ckpt"], "other"),
        ],
    )
    def test_name_the_folder(self, recipe, argv, folder):
        assert parsed("--config", recipe(), *argv).options(RunOptions).folder == Path(folder)

    def test_without_name_or_config_are_refused(self):
        options = parsed("--model", "tiny_detector.TinyDetector").options(RunOptions)
        with pytest.raises(InputError, match="no name: give --name"):
            options.folder  # noqa: B018


class TestNamesOfTheReleaseBefore:
    def test_train_takes_a_parser_and_its_config(self, recipe):
        one = parsed("--config", recipe(), "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0")
        with pytest.warns(DeprecationWarning, match="is train\\(ParsedCommand"):
            commands.train(one.parser, one.config)
        assert Path("runs/tiny/last.ckpt").is_file()

    def test_the_recipe_of_a_checkpoint_is_the_default_data(self, run_folder, shapes_root):
        parser = command_parser("eval", "", "")
        add_evaluation_arguments(parser)
        with pytest.warns(DeprecationWarning, match="default_to_training_data"):
            default_to_training_data = evaluate.default_to_training_data
        assert default_to_training_data(parser, []) == {}
        assert default_to_training_data(parser, ["--checkpoint", str(run_folder)])["data"]["root"] == str(shapes_root)
        assert str(parser.get_default("data.root")) == str(shapes_root)

    def test_are_where_they_were(self):
        with pytest.warns(DeprecationWarning, match="add_training_arguments"):
            assert commands.add_arguments is add_training_arguments


def test_no_parsed_namespace_leaves_the_room():
    """Nor a private name of jsonargparse, but for the list of arguments in one file."""
    naming = {}
    for path in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        if "Namespace" in names | attributes and PACKAGE / "engine" / "config" not in path.parents:
            naming[str(path)] = "Namespace"
        if "_actions" in attributes and path.name != "declared_arguments.py":
            naming[str(path)] = "_actions"
    assert not naming
