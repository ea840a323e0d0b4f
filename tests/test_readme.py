"""The README's own head is trained, and the demo drawn; tests/docs/test_pages.py runs its other blocks."""

import re
from pathlib import Path

from forked import start_command, start_script

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TINY = [
    "--data.shapes.counts={train: 8, val: 4, test: 4}",
    "--data.num_workers=0",
    "--trainer.max_epochs=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.accelerator=cpu",
]


def block(language: str, first_words: str) -> str:
    """The README's code block of `language` that contains `first_words`."""
    blocks = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if first_words in text]
    assert len(blocks) == 1, f"README.md has {len(blocks)} {language} blocks with {first_words!r}"
    return blocks[0]


def command(folder: Path, *argv: str) -> tuple[int | None, str]:
    """The status of ``detkit`` in `folder`, and what it said."""
    process = start_command(folder / "said", folder, *argv, PYTHONPATH=str(folder))
    process.join(300)
    return process.exitcode, (folder / "said").read_text()


def run_tool(folder: Path, name: str, *argv: str) -> str:
    """What a file of tools/ says in `folder`."""
    process = start_script(folder / "said", folder, ROOT / "tools" / name, *argv, PYTHONPATH=str(folder))
    process.join(300)
    said = (folder / "said").read_text()
    assert process.exitcode == 0, said
    return said


def test_a_head_in_a_package_of_its_own_is_trained_and_evaluated(tmp_path):
    package = tmp_path / "my_heads"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "agnostic.py").write_text(block("python", "class AgnosticBoxHead"))
    (tmp_path / "my_recipe.yaml").write_text(block("yaml", "my_heads.agnostic"))

    status, said = command(tmp_path, "train", "--config", "my_recipe.yaml", *TINY)
    assert status == 0, said
    metrics = (tmp_path / "runs/my_recipe/metrics.csv").read_text()
    assert "train/box_giou" in metrics.splitlines()[0]

    evaluate = ["--checkpoint", "runs/my_recipe/best.ckpt", "--device", "cpu"]
    assert "Average Precision" in run_tool(tmp_path, "eval.py", *evaluate, "--trust", "my_heads")
    status, said = command(tmp_path, "eval", *evaluate)
    assert status == 2
    assert "my_heads" in said


def test_the_demo_leaves_its_drawings(tmp_path):
    shown = run_tool(tmp_path, "demo.py", *TINY)
    assert "Average Precision" in shown
    for name in ("best.ckpt", "metrics.json", "predictions.png", "curves.png"):
        assert (tmp_path / "runs/demo" / name).stat().st_size > 0
