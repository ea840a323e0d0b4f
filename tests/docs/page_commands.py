"""Runs a command line of the pages within this process."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from page_blocks import ROOT

from detkit.engine.cli import main


def run_command(command: str, extra: tuple[str, ...] = ()) -> None:
    """Run `command` with further arguments `extra`; training is parsed up to its resolved config.

    Raises:
        AssertionError: it ends with another status than 0, or is of no kind that is known here.
    """
    words = shlex.split(command)
    while words and words[0] == "PYTHONPATH=.":
        words.pop(0)
    match words:
        case ["torchrun" | "srun", *rest] if "tools/train.py" in rest:
            _detkit("train", [*rest[rest.index("tools/train.py") + 1 :], *extra])
        case ["detkit", name, *arguments]:
            _detkit(name, [*arguments, *extra])
        case ["python", "tools/benchmark.py", *arguments]:
            _benchmark(arguments)
        case ["python", tool, *arguments] if tool.startswith("tools/"):
            _tool(tool, [*arguments, *extra])
        case ["python", "-m", "pytest", path]:
            assert (ROOT / path).exists(), path
        case ["pip", "install", *packages]:
            _pip_install(packages)
        case ["ovc", *arguments]:
            pytest.importorskip("openvino", reason="needs openvino: pip install detkit[openvino]")
            subprocess.run([Path(sys.executable).parent / "ovc", *arguments], check=True, capture_output=True)
        case ["make", target]:
            subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
        case _:
            raise AssertionError(f"no test knows how to run: {command}")


def _pip_install(packages: list[str]) -> None:
    """That this folder has a project with the extras, and that packages of others are among those known here."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package in packages:
        if here := re.fullmatch(r"\.(?:\[([\w,]+)\])?", package):
            assert set((here[1] or "").split(",")) <= {"", *extras}, package
        else:
            assert package in ("mlflow", "wandb"), package


def _detkit(name: str, arguments: list[str]) -> None:
    if name != "train":
        status = main([name, *arguments])
        assert status == 0, f"detkit {name} ended with {status}"
        return
    asks_for_help = any(argument.endswith("help") for argument in arguments)
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            status = main(["train", *arguments, *([] if asks_for_help else ["--print_config"])])
    except SystemExit as end:
        status = end.code
    assert status in (0, None), f"detkit train ended with {status}"
    if not asks_for_help:
        assert yaml.safe_load(said.getvalue())["model"]["class_path"]


def _tool(tool: str, arguments: list[str]) -> None:
    status: object = 0
    with patch.object(sys, "argv", [tool, *arguments]):
        try:
            runpy.run_path(str(ROOT / tool), run_name="__main__")
        except SystemExit as end:
            status = end.code
    assert status in (0, None), f"{tool} ended with {status}"


def _benchmark(arguments: list[str]) -> None:
    """Parse and dispatch as the tool does, but measure nothing."""
    calls: list[dict] = []
    module = importlib.import_module(f"benchmarks.{arguments[0]}")
    signature = inspect.signature(module.benchmark)
    with patch.object(module, "benchmark", lambda **options: calls.append(options)):
        _tool("tools/benchmark.py", arguments)
    assert len(calls) == 1, f"tools/benchmark.py {arguments} measured {len(calls)} times"
    signature.bind(**calls[0])
