"""Files of recipes: read strictly and in any encoding of YAML, with paths relative to the file."""

import logging

import pytest

from detkit.engine.cli import run, train
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.errors import InputError

MODEL = (
    "model: {class_path: SSD, init_args: {backbone: {class_path: TorchvisionBackbone, init_args: {name: resnet18}}}}\n"
)


@pytest.fixture(scope="module")
def parser():
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    return parser


def parsed(parser, folder, content, *argv):
    file = folder / "recipe.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse(parser, ["--config", str(file), *argv])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_recipe_in_any_encoding_of_yaml(parser, tmp_path, encoding):
    text = ("\ufeff" if encoding == "utf-16-le" else "") + MODEL + "data: {class_names: [猫]}\n"
    assert parsed(parser, tmp_path, text.encode(encoding)).data.class_names == ["猫"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (MODEL + "name: a\nname: b\n", "key 'name' is there twice.*line 3"),
        (MODEL + "data: {root: a, root: b}\n", "key 'root' is there twice.*line 2"),
        (MODEL + "data: &d {root: a, sources: [*d]}\n", "inside of its own anchor.*line 2"),
        ("model: &m\n  init_args: *m\n", "inside of its own anchor"),
        (BOMB, "aliases repeat too many values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ((MODEL + "data: {class_names: [熊猫]}\n").encode("gbk"), "not YAML"),
        (b"\xff\xfea", "not YAML"),
        (bytes(range(256)), "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: !!python/object/apply:os.system ['true']", "not YAML"),
        ("", "holds no settings"),
        ("- a\n", "holds no settings"),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_its_name(parser, tmp_path, content, sentence):
    with pytest.raises(InputError, match=rf"recipe\.yaml.*{sentence}") as caught:
        parsed(parser, tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["5", ".nan", "[]", "true", "my/folder", "''"])
@pytest.mark.parametrize("section", ["data", "trainer"])
def test_a_value_in_place_of_settings_is_refused(parser, tmp_path, section, value):
    with pytest.raises(InputError, match=rf"recipe\.yaml: {section} must hold settings"):
        parsed(parser, tmp_path, MODEL + f"{section}: {value}\n")


def test_an_empty_section_has_the_defaults(parser, tmp_path):
    config = parsed(parser, tmp_path, MODEL + "data:\ntrainer:\n")
    assert (config.data.batch_size, config.trainer.max_epochs) == (2, 12)


def test_names_are_text(parser, tmp_path):
    config = parsed(parser, tmp_path, MODEL + "data: {class_names: [yes, on, y, no, off, 2020-01-01]}\n")
    assert config.data.class_names == ["yes", "on", "y", "no", "off", "2020-01-01"]


@pytest.mark.parametrize(
    ("word", "truth"), [("yes", True), ("on", True), ("no", False), ("off", False), ("true", True)]
)
def test_switches_take_the_words_of_yaml_1_1(parser, tmp_path, word, truth):
    config = parsed(parser, tmp_path, MODEL + f"data: {{aspect_ratio_grouping: {word}}}\nvalidation_loss: {word}\n")
    assert config.data.aspect_ratio_grouping is truth
    assert config.validation_loss is truth


class TestPaths:
    @pytest.fixture
    def folders(self, tmp_path, monkeypatch):
        """The folder of a recipe, and the working directory."""
        recipe, working = tmp_path / "recipe", tmp_path / "working"
        for folder in (recipe, working):
            folder.mkdir()
        monkeypatch.chdir(working)
        return recipe, working

    def test_are_relative_to_the_recipe_where_they_exist_there(self, parser, folders):
        recipe, _ = folders
        (recipe / "data").mkdir()
        (recipe / "weights.pth").touch()
        content = MODEL + "data: {root: data, val_annotations: gone.json}\nstart_from: weights.pth\n"
        config = parsed(parser, recipe, content)
        assert config.data.root == recipe / "data"
        assert config.start_from == str(recipe / "weights.pth")
        assert str(config.data.val_annotations) == "gone.json"

    @pytest.mark.parametrize(
        ("written", "located"),
        [
            ("torchvision:a,b.pth", "torchvision:a,{}/b.pth"),
            ("detectron2:a,b.pth", "detectron2:a,{}/b.pth"),
            ("darknet:a,b.pth", "darknet:{0}/a,{0}/b.pth"),
            ("torchvision:a", "torchvision:a"),
        ],
    )
    def test_within_the_weights_to_start_from_too(self, parser, folders, written, located):
        recipe, _ = folders
        (recipe / "a").touch()
        (recipe / "b.pth").touch()
        assert parsed(parser, recipe, MODEL + f"start_from: '{written}'\n").start_from == located.format(recipe)

    def test_are_else_relative_to_the_working_directory(self, parser, folders):
        recipe, working = folders
        (working / "data").mkdir()
        assert str(parsed(parser, recipe, MODEL + "data: {root: data}\n").data.root) == "data"

    def test_which_exist_in_both_are_those_of_the_recipe_and_it_is_said(self, parser, folders, caplog):
        recipe, working = folders
        (recipe / "data").mkdir()
        (working / "data").mkdir()
        with caplog.at_level(logging.WARNING):
            assert parsed(parser, recipe, MODEL + "data: {root: data}\n").data.root == recipe / "data"
        assert "is in the recipe's folder and in the working directory" in caplog.text

    def test_of_the_command_line_are_relative_to_the_working_directory(self, parser, folders):
        recipe, _ = folders
        (recipe / "data").mkdir()
        config = parsed(parser, recipe, MODEL + "data: {root: other}\n", "--data.root", "data")
        assert str(config.data.root) == "data"

    def test_names_are_no_paths(self, parser, folders):
        recipe, _ = folders
        (recipe / "train").mkdir()
        config = parsed(parser, recipe, MODEL + "name: train\ndata: {train_split: train}\n")
        assert (config.name, config.data.train_split) == ("train", "train")

    def test_are_written_so_that_they_are_found_from_any_directory(self, parser, folders):
        recipe, working = folders
        (working / "data").mkdir()
        config = parsed(parser, recipe, MODEL + "data: {root: data, val_annotations: gone.json}\n")
        text = parser.dump(config, skip_validation=True)
        assert f"root: {working / 'data'}\n" in text
        assert "val_annotations: gone.json\n" in text


def test_the_command_line_says_it_in_one_sentence(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("data: &d [*d]\n")
    assert run(train, ["--config", str(tmp_path / "recipe.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
