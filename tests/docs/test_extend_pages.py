"""The pages of docs/extend: their files are written to a package, and their commands are run."""

from __future__ import annotations

import inspect
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from extend_pages import FOLDER, commands_of, write_files

from detkit.engine.cli import main

ROOT = FOLDER.parents[1]
LONGEST = 80  # lines of a page, blank ones and kernels aside
TRAINED: dict[str, tuple[str, ...]] = {
    "backbone.md": (), "head.md": (), "dataset.md": (), "evaluator.md": (), "callback.md": (),
    "task.md": ("evaluator.md",), "doctor.md": ("head.md", "evaluator.md", "task.md"),
}  # fmt: skip

SHORT = (
    "--data.num_workers=0", "--data.batch_size=2", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1", "--trainer.check_val_every_n_epoch=1", "--pictures=0",
)  # fmt: skip
SHAPES = ("--data.shapes.counts={train: 4, val: 2, test: 2}", "--data.shapes.image_size=[48, 64]")
SMALL = "{class_path: ShortestEdge, init_args: {min_size: 48, max_size: 64}}"
SMALLER = {
    "backbone.md": SHAPES,
    "head.md": (*SHAPES, f"--model.init_args.preprocess={SMALL}"),
    "dataset.md": ("--data.dataset.init_args.count=2", f"--model.init_args.preprocess={SMALL}"),
    "evaluator.md": (*SHAPES, f"--model.init_args.preprocess={SMALL}"),
    "callback.md": (*SHAPES, f"--model.init_args.preprocess={SMALL}"),
    "task.md": SHAPES,
    "doctor.md": (*SHAPES, "--images=2", "--skip=memory", "--skip=overfit"),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty folder that is imported from, with one torch thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    cv2.imwrite("street.jpg", np.full((48, 64, 3), 90, np.uint8))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def run_tests(path: str, folder: Path) -> None:
    """Call the tests of a file, as pytest would."""
    tests = {name: one for name, one in runpy.run_path(path).items() if name.startswith("test_")}
    assert tests
    for test in tests.values():
        test(*[folder] * len(inspect.signature(test).parameters))  # tmp_path is the only fixture of the pages


@pytest.mark.parametrize("page", TRAINED)
def test_its_commands_run(page, package, capfd):
    write_files(package, *TRAINED[page], page)
    ran = []
    for words in commands_of(page):
        match words:
            case ["export", "PYTHONPATH=."]:
                continue  # as the fixture does
            case ["pytest", path]:
                run_tests(path, package)
            case ["detkit", *arguments]:
                further = (*SHORT, *SMALLER[page]) if arguments[0] in ("train", "doctor") else ()
                status = main([*arguments, *further])
                assert status == 0, capfd.readouterr().err
        ran.append(words[0])
    assert ran.count("pytest") == 1
    assert ran.count("detkit") == 2


def test_no_page_is_left_out():
    assert {path.name for path in FOLDER.glob("*.md")} == {*TRAINED, "field.md", "op.md"}


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_it_is_short(page):
    text = re.sub(r"^```cpp\n.*?^```", "", (FOLDER / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len([line for line in text.splitlines() if line]) <= LONGEST


@pytest.mark.parametrize("page", sorted(path.name for path in FOLDER.glob("*.md")))
def test_its_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", (FOLDER / page).read_text()):
        assert (FOLDER / link.partition("#")[0]).exists(), link
