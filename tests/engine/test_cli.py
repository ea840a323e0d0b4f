"""The first words of a command line: commands, the version, and what is none of them."""

import subprocess
import sys

import pytest

import detkit
from detkit.engine.cli import COMMANDS, main


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"detkit {detkit.__version__}\n"


def test_help_lists_each_command_with_what_it_does(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, what) in COMMANDS.items():
        assert any(line.split() == [name, *what.split()] for line in shown.splitlines())
    assert main([]) == 2
    assert capsys.readouterr() == ("", shown)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("trian", "train"), ("recipe", "recipes"), ("evaluate", "eval"), ("val", "eval"), ("detect", "predict")],
)
def test_a_wrong_command_is_told_the_nearest(capsys, word, meant):
    assert main([word, "--epochs", "3"]) == 2
    said = f"detkit: There is no command {word}; did you mean {meant}? `detkit --help` describes them.\n"
    assert capsys.readouterr() == ("", said)


def test_a_word_like_no_command_is_told_all(capsys):
    assert main(["xyz"]) == 2
    assert "there are: train, eval, predict" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--epochs", "3"], ["--data", "my/folder", "ssd_shapes"]])
def test_a_training_without_a_recipe_is_told_to_name_one(capsys, argv):
    assert main(["train", *argv]) == 2
    assert "Name a recipe first: detkit train RECIPE" in capsys.readouterr().err


def test_a_doctor_without_a_recipe_is_told_to_name_one(capsys):
    assert main(["doctor", "--data.root", "my/folder"]) == 2
    assert "Name a recipe first: detkit doctor RECIPE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["report", "--checkpoint", "runs/x"], "detkit report runs/x"),
        (["report", "--out", "a.html", "--checkpoint=runs/x"], "detkit report runs/x"),
        (["export", "--checkpoint", "runs/x", "--to", "onnx"], "detkit export runs/x"),
        (["export", "--run"], "detkit export RUN"),
        (["serve", "--checkpoint=runs/x"], "detkit serve runs/x"),
        (["predict", "--inputs", "a.jpg", "--checkpoint", "runs/x", "--out", "y"], "detkit predict a.jpg"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_option_for_what_stands_without_one_is_told_the_right_form(capsys, argv, meant):
    assert main(argv) == 2
    option = next(one for one in argv if one.startswith(("--checkpoint", "--run", "--inputs"))).partition("=")[0]
    assert capsys.readouterr().err == f"detkit: The command line has no option {option}; did you mean {meant}?\n"


def test_what_a_newcomer_asks_first_imports_no_torch():
    asked = [
        [],
        ["--version"],
        ["--help"],
        ["tarin"],
        ["recipes"],
        *([name, "--help"] for name in COMMANDS),
        *([name] for name in ("predict", "compare", "export", "convert", "visualize", "license", "anchors", "report")),
        ["serve"],
    ]
    asked += [["train"], ["train", "--data", "my/folder", "ssd_shapes"]]
    asked += [["train", "ssd_shape"], ["train", "ssd_shapes", "--imgsz", "64"]]
    heavy = ("torch", "lightning", "torchvision", "matplotlib", "cv2", "numpy")
    code = f"""
import sys
from contextlib import suppress
from detkit.engine import recorded_help
from detkit.engine.cli import main
# Packages of other versions than those of the record show the help of their own, which takes torch.
recorded_help.versions_now = lambda: recorded_help.help_file("train").read_text().partition("\\n")[0]
for argv in {asked!r}:
    with suppress(SystemExit):
        main(argv)
    print("loaded:", argv, [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert loaded == [f"loaded: {argv} []" for argv in asked], done.stderr
