"""A recipe's name in place of a file, first on the command line or after ``--config``."""

from pathlib import Path

import pytest

from detkit.engine.config.records.paths import relative_to_recipe
from detkit.engine.shorthand.recipe_arguments import with_recipe_files
from detkit.errors import InputError
from detkit.recipes import recipe_files

SSD = str(Path(__file__).parents[3] / "configs" / "ssd_shapes.yaml")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ssd_shapes", f"--config {SSD}"),
        (f"{SSD} --seed 1", f"--config {SSD} --seed 1"),
        ("--config ssd_shapes", f"--config {SSD}"),
        ("--config=ssd_shapes --seed=1", f"--config={SSD} --seed=1"),
        (f"ssd_shapes --config {SSD}", f"--config {SSD} --config {SSD}"),
        ("--seed 1 --config ssd_shapes", f"--seed 1 --config {SSD}"),
        ("--name ssd_shapes", "--name ssd_shapes"),
        ("--config", "--config"),
        ("--config={seed:1}", "--config={seed:1}"),
        ("--resume runs/ssd_shapes", "--resume runs/ssd_shapes"),
    ],
)
def test_names_become_files(given, meant):
    assert with_recipe_files(given.split()) == meant.split()


def test_a_wrong_name_is_refused(detkit_command):
    status, said = detkit_command("train", "ssd_shape")
    assert status == 2
    assert "There is no recipe ssd_shape; did you mean ssd_shapes" in said
    with pytest.raises(InputError, match="no recipe"):
        with_recipe_files(["--config=ssd_shape"])


def test_the_run_has_the_recipes_name(detkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ("--data.shapes.counts={train: 2, val: 2, test: 2}", "--data.num_workers=0", "--trainer.max_epochs=1")
    status, said = detkit_command("train", "ssd_shapes", *short, "--trainer.accelerator=cpu")
    assert (status, said) == (0, "")
    assert (tmp_path / "runs" / "ssd_shapes" / "config.yaml").is_file()


def test_paths_of_installed_recipes_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    configs = tmp_path / "detkit" / "configs"
    (configs / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert relative_to_recipe(Path("data"), configs) == configs / "data"  # of one's own folder of recipes
    monkeypatch.setattr(recipe_files, "_PACKAGE", configs.parent)
    assert relative_to_recipe(Path("data"), configs) == Path("data")
