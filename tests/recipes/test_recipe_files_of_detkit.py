"""Recipes are found by name, in a checkout and in an installation."""

from pathlib import Path

import pytest

from detkit.errors import InputError
from detkit.recipes import recipe_files, recipe_folder, recipe_names, recipe_path

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installation(tmp_path, monkeypatch) -> Path:
    """The recipes of a wheel: a folder within the package."""
    configs = tmp_path / "site-packages" / "detkit" / "configs"
    configs.mkdir(parents=True)
    (configs / "ssd_shapes.yaml").write_text("data: {root: data}\n")
    monkeypatch.setattr(recipe_files, "_PACKAGE", configs.parent)
    monkeypatch.chdir(tmp_path)
    return configs


def test_a_checkout_has_them_in_configs():
    assert recipe_folder() == ROOT / "configs"
    assert recipe_names() == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_a_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_path("ssd_shapes") == ROOT / "configs" / "ssd_shapes.yaml"


def test_a_wheel_has_them_in_the_package(installation):
    assert recipe_path("ssd_shapes") == installation / "ssd_shapes.yaml"
    assert recipe_path("configs/ssd_shapes.yaml") == installation / "ssd_shapes.yaml"  # as the pages write it
    assert recipe_files.is_shipped(installation)
    assert not recipe_files.is_shipped(ROOT / "configs")


def test_a_file_of_ones_own_comes_first(installation):
    Path("configs").mkdir()
    for own in ("ssd_shapes", "configs/ssd_shapes.yaml", "mine.yaml"):
        Path(own).write_text("seed: 1\n")
        assert recipe_path(own) == Path(own)


@pytest.mark.parametrize("wrong", ["faster_rcn_shapes", "configs/faster_rcn_shapes.yaml", "faster_rcn_shapes.yaml"])
def test_a_wrong_name_is_told_the_nearest(wrong):
    with pytest.raises(
        InputError, match=r"did you mean faster_rcnn_shapes .*`detkit recipes` lists all recipes\."
    ) as caught:
        recipe_path(wrong)
    assert wrong in str(caught.value)


def test_a_name_like_no_other():
    with pytest.raises(InputError, match=r"^There is no recipe zzz\. `detkit recipes` lists"):
        recipe_path("zzz")
