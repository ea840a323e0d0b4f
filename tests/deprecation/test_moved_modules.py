"""Modules that have moved are imported by their old names still."""

import importlib
import subprocess
import sys
import warnings

import pytest

from detkit.deprecation import OldName
from detkit.deprecation.moved_modules import MOVED


def test_an_old_name_is_the_module_of_now_and_is_warned_of():
    sys.modules.pop("detkit.engine.ema", None)
    with pytest.warns(OldName, match=r"detkit\.engine\.ema is detkit\.engine\.callbacks\.ema now"):
        old = importlib.import_module("detkit.engine.ema")
    assert old is importlib.import_module("detkit.engine.callbacks.ema")
    assert old.__name__ == "detkit.engine.callbacks.ema"
    assert old.__spec__.name == "detkit.engine.callbacks.ema"


def test_the_warning_points_at_the_line_that_imports_the_old_name():
    code = "import detkit.heads.yolo_v3"  # as a script, in which Python shows a DeprecationWarning
    shown = subprocess.run([sys.executable, "-c", code], check=True, timeout=300, capture_output=True, text=True).stderr
    assert shown.startswith("<string>:1: OldName: detkit.heads.yolo_v3 is detkit.heads.dense.yolo.yolo_v3 now")


@pytest.mark.parametrize("name", MOVED)
def test_every_old_name_is_imported(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldName)
        assert importlib.import_module(f"detkit.{name}") is importlib.import_module(f"detkit.{MOVED[name]}")


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"detkit\.engine\.nothing"):
        importlib.import_module("detkit.engine.nothing")


def test_a_module_that_is_gone_is_answered_with_what_replaced_it():
    with pytest.raises(ModuleNotFoundError, match=r"^detkit\.data\.window is gone: use detkit\.geometry\.Placement$"):
        importlib.import_module("detkit.data.window")


def test_a_moved_name_of_a_moved_module_is_warned_of_without_a_module_that_nobody_wrote():
    with pytest.warns(OldName) as caught:
        importlib.import_module("detkit.engine.predicting").Picture  # noqa: B018
    assert str(caught[-1].message) == "Picture is detkit.engine.commands.prediction_files.Frame now"


def test_names_of_the_old_preprocess_module_are_found():
    with pytest.warns(OldName):
        from detkit.models.preprocess import IMAGENET_MEAN, Letterbox, Size, corner_resize
    from detkit import geometry, preprocess

    assert (IMAGENET_MEAN, Letterbox, Size) == (preprocess.IMAGENET_MEAN, preprocess.Letterbox, geometry.Size)
    assert corner_resize is preprocess.letterbox.corner_resize


def test_nothing_of_detkit_imports_itself_by_an_old_name():
    code = (
        "import warnings, pkgutil, importlib, detkit, detkit.deprecation\n"
        "warnings.simplefilter('error', detkit.deprecation.OldName)\n"
        "for info in pkgutil.walk_packages(detkit.__path__, 'detkit.'):\n"
        "    if '._C' not in info.name:\n"
        "        importlib.import_module(info.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
