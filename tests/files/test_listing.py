"""Hidden files: macOS's ``._a.jpg`` and Jupyter's ``.ipynb_checkpoints``."""

from pathlib import Path

from detkit.files import is_hidden, visible


def test_hidden_files_and_folders_below_the_root_are_left_out():
    root = Path("/home/.cache/data")
    names = ["b.jpg", "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "x/.git/a.jpg", "x/a.jpg"]
    assert visible([root / name for name in names], root) == [root / "a.jpg", root / "b.jpg", root / "x" / "a.jpg"]


def test_without_a_root_only_the_own_name_counts():
    assert is_hidden(Path("x/.a.jpg"))
    assert not is_hidden(Path(".x/a.jpg"))
    assert not is_hidden(Path(".."))
