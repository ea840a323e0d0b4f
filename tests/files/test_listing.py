"""Hidden files: macOS's ``._a.jpg`` and Jupyter's ``.ipynb_checkpoints``; and files by their names in annotations."""

from pathlib import Path

from detkit.files import is_hidden, named_beside, visible


def test_hidden_files_and_folders_below_the_root_are_left_out():
    root = Path("/home/.cache/data")
    names = ["b.jpg", "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "x/.git/a.jpg", "x/a.jpg"]
    assert visible([root / name for name in names], root) == [root / "a.jpg", root / "b.jpg", root / "x" / "a.jpg"]


def test_without_a_root_only_the_own_name_counts():
    assert is_hidden(Path("x/.a.jpg"))
    assert not is_hidden(Path(".x/a.jpg"))
    assert not is_hidden(Path(".."))


class TestNamedBeside:
    def test_in_the_folder_of_the_file_or_above(self, tmp_path):
        (tmp_path / "annotations").mkdir()
        source = tmp_path / "annotations/train.json"
        (tmp_path / "mask").mkdir()
        (tmp_path / "mask/a.png").touch()
        assert named_beside(source, "mask/a.png") == str(tmp_path / "mask/a.png")
        assert named_beside(str(source), "mask\\a.png") == str(tmp_path / "mask/a.png")
        (tmp_path / "annotations/mask").mkdir()
        (tmp_path / "annotations/mask/a.png").touch()
        assert named_beside(source, "mask/a.png") == str(tmp_path / "annotations/mask/a.png")

    def test_where_it_is_nowhere(self, tmp_path):
        assert named_beside(tmp_path / "train.json", "a.png") == str(tmp_path / "a.png")

    def test_absolute_paths_stay(self, tmp_path):
        (tmp_path / "a.png").touch()
        assert named_beside("train.json", str(tmp_path / "a.png")) == str(tmp_path / "a.png")

    def test_relative_to_the_working_folder(self, tmp_path, monkeypatch):
        (tmp_path / "work").mkdir()
        (tmp_path / "above.png").touch()
        (tmp_path / "work/own.png").touch()
        monkeypatch.chdir(tmp_path / "work")
        assert named_beside("train.json", "own.png") == "own.png"
        assert named_beside("train.json", "above.png") == "../above.png"
