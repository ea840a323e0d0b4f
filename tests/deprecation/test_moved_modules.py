"""Modules that have moved are imported by their old names still."""

import ast
import importlib
import sys
import warnings
from pathlib import Path

import pytest

from detkit.deprecation import OldName
from detkit.deprecation.moved_modules import MOVED

ROOT = Path(__file__).resolve().parents[2]


def test_an_old_name_is_the_module_of_now_and_is_warned_of():
    sys.modules.pop("detkit.engine.ema", None)
    with pytest.warns(OldName, match=r"detkit\.engine\.ema is detkit\.engine\.callbacks\.ema now"):
        old = importlib.import_module("detkit.engine.ema")
    assert old is importlib.import_module("detkit.engine.callbacks.ema")
    assert old.__name__ == "detkit.engine.callbacks.ema"
    assert old.__spec__.name == "detkit.engine.callbacks.ema"


def test_the_warning_points_at_the_line_that_imports_the_old_name():
    sys.modules.pop("detkit.heads.yolo_v3", None)
    with pytest.warns(OldName, match=r"heads\.yolo_v3 is detkit\.heads\.dense\.yolo\.yolo_v3 now") as warned:
        exec(compile("\nimport detkit.heads.yolo_v3", "mine.py", "exec"), {})
    assert [(one.filename, one.lineno) for one in warned] == [("mine.py", 2)]


@pytest.mark.parametrize("name", MOVED)
def test_every_old_name_is_imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldName)
        assert importlib.import_module(f"detkit.{name}") is importlib.import_module(f"detkit.{MOVED[name]}")


@pytest.mark.parametrize("name", ["evaluation.bootstrap", "visualization.grad_cam"])
def test_a_function_of_the_name_stays_what_it_is(name):
    package, _, function = f"detkit.{name}".rpartition(".")
    exported = getattr(importlib.import_module(package), function)
    sys.modules.pop(f"detkit.{name}", None)
    with pytest.warns(OldName, match=f"detkit.{name} is"):
        old = importlib.import_module(f"detkit.{name}")
    assert getattr(old, function) is exported
    assert getattr(importlib.import_module(package), function) is exported


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"detkit\.engine\.nothing"):
        importlib.import_module("detkit.engine.nothing")


def test_a_module_that_is_gone_is_answered_with_what_replaced_it():
    with pytest.raises(ModuleNotFoundError, match=r"^detkit\.data\.window is gone: use detkit\.geometry\.Placement$"):
        importlib.import_module("detkit.data.window")


def test_a_moved_name_of_a_moved_module_is_warned_of_without_a_module_that_nobody_wrote():
    with pytest.warns(OldName) as caught:
        importlib.import_module("detkit.engine.predicting").Picture  # noqa: B018
    assert str(caught[-1].message) == "Picture is detkit.engine.commands.prediction.prediction_files.Frame now"


def test_names_of_the_old_preprocess_module_are_found():
    with pytest.warns(OldName):
        from detkit.models.preprocess import IMAGENET_MEAN, Letterbox, Size, corner_resize
    from detkit import geometry, preprocess

    assert (IMAGENET_MEAN, Letterbox, Size) == (preprocess.IMAGENET_MEAN, preprocess.Letterbox, geometry.Size)
    assert corner_resize is preprocess.letterbox.corner_resize


def test_nothing_of_detkit_imports_itself_by_an_old_name():
    old = {f"detkit.{name}" for name in MOVED}
    for path in (*ROOT.glob("detkit/**/*.py"), *ROOT.glob("tools/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            assert not old & {*names}, f"{path}:{node.lineno}"
