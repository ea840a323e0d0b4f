"""Every code block of README.md and docs/ does what it is shown for.

Python blocks are executed, commands run, in a folder with small files of the names that the pages use
(`page_world`). A training command is parsed up to its resolved config; other tests train. What differs from the page
stands in `page_tables`, and so does what no test can run, with its reason.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import page_world
import pytest
import torch
import yaml
from page_blocks import PAGES, Block, all_blocks, blocks_of
from page_commands import run_command
from page_tables import BASE, EXTRA, FILES, FILES_OF, GIVEN, NOT_RUN, REPLACED, SHOWN, UNDER
from torchvision.models._api import WeightsEnum

RUN = {"python", "sh", "yaml", "json"}
WEIGHTS_TESTS = Path(__file__).parents[1] / "weights"
PREPARED = {
    "conversion.md": lambda: shutil.rmtree("my/yolo"),
    "detectron2.md": page_world.write_detectron2,
    "evaluation.md": page_world.write_label_maps,
    "export.md": page_world.write_exported,
    "meshes.md": page_world.write_meshes,
    "runtimes.md": page_world.write_certified,
    "verify.md": page_world.write_certified,
    "weights.md": page_world.write_published,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        page_world.make_world(folder)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def folder(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of one page, from which it imports; nothing is downloaded."""
    copy = tmp_path / "page"
    page_world.copy_linked(world, copy)
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(str(WEIGHTS_TESTS))
    monkeypatch.syspath_prepend(str(copy))
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", page_world.random_instead_of_published)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield copy
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("my_package", "my_heads", "my_learners")]:
        del sys.modules[name]


def test_every_block_is_run_or_only_shown():
    languages = {block.language for block in all_blocks()}
    assert languages <= RUN | set(SHOWN), [str(block) for block in all_blocks() if block.language not in RUN | {*SHOWN}]


def test_what_is_not_run_is_on_its_page():
    commands = {
        (block.page, command) for block in all_blocks() if block.language == "sh" for command in block.commands()
    }
    for page, words in NOT_RUN:
        assert any(command.startswith(words) for of, command in commands if of == page), f"{page} has no {words!r}"


# Whole networks of others, and whole trainings, each with tests of its own.
SLOW = {
    "classification.md", "detectors.md", "detectron2.md", "evaluation.md", "export.md", "first-hour.md", "loggers.md",
    "prediction.md", "python.md", "results.md", "runtimes.md", "torchvision.md", "verify.md", "weights.md",
}  # fmt: skip


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in PAGES if blocks_of(page)]
)
def test_a_page_works(page: str, folder: Path):
    blocks = blocks_of(page)
    if page in ("export.md", "runtimes.md", "verify.md"):
        pytest.importorskip("onnxruntime", reason="the page runs ONNX Runtime: pip install detkit[onnx]")
    files = {one.file: one.text for of in [*FILES_OF.get(page, []), page] for one in blocks_of(of) if one.file}
    for path, text in (FILES | files).items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    PREPARED.get(page, lambda: None)()
    names: dict[str, object] = {}
    for block in blocks:
        try:
            _work(block, names)
        except Exception as error:
            error.add_note(f"in the block at {block}")
            raise


def _work(block: Block, names: dict[str, object]) -> None:
    if block.language == "python":
        text = _replaced(block.text)
        names["THIS"] = text
        exec(compile(GIVEN.get(block.page, ""), f"given to {block}", "exec"), names)
        exec(compile(text, str(block), "exec", flags=0, dont_inherit=True), names)
    elif block.language == "sh":
        for command in block.commands():
            if not any(block.page == page and command.startswith(words) for page, words in NOT_RUN):
                extra = next((extra for words, extra in EXTRA.items() if command.startswith(words)), ())
                run_command(_replaced(command), extra)
    elif block.language == "yaml":
        _parse_yaml(block)
    elif block.language == "json":
        json.loads(block.text)


def _replaced(text: str) -> str:
    for there, here in REPLACED.items():
        text = text.replace(there, here)
    if find_spec("onnxscript") is None:
        text = re.sub(r"^(torch\.onnx|detkit)\.export.*$", "", text, flags=re.MULTILINE)
    return text


def _parse_yaml(block: Block) -> None:
    """Parse a config, or a part of one on top of another recipe, as ``detkit train`` does."""
    words = block.text.split()[0]
    base, key = UNDER.get((block.page, words), (BASE, ""))
    content = yaml.safe_load(block.text)
    for part in reversed(key.split(".") if key else []):
        content = {part: content}
    Path("block.yaml").write_text(yaml.safe_dump(content))
    bases = "" if "model" in content and not key else f"--config {base} "
    run_command(f"detkit train {bases}--config block.yaml")
