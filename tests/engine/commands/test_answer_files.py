"""The names of the further files of predictions, and what they must not replace."""

from pathlib import Path

import pytest

from detkit.engine.commands.prediction.answer_files import AnswerFiles, chosen_endings
from detkit.errors import InputError
from detkit.tasks import Task


class Texts(Task):
    name = "texts"
    answer_files = {"txt": True, "long.txt": False}  # noqa: RUF012

    def answer_file(self, ending, answer, categories):
        return f"{answer} as {ending}".encode()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(copies, endings=("txt",), frame=None):
    files = AnswerFiles(copies, endings, Texts(), [])
    for number, source in enumerate(copies):
        files.write(source, frame, number)
    return {str(path): path.read_text() for path in Path().rglob("*.txt")}


def test_are_named_as_the_annotated_copies():
    copies = {Path("a.jpg"): Path("out/a.jpg"), "http://host/b.png": Path("out/host/b.png")}
    assert written(copies, ("txt", "long.txt")) == {
        "out/a.txt": "0 as txt",
        "out/a.long.txt": "0 as long.txt",
        "out/host/b.txt": "1 as txt",
        "out/host/b.long.txt": "1 as long.txt",
    }


def test_keep_suffixes_that_tell_inputs_apart():
    copies = {Path(name): Path("out") / name for name in ("a.jpg", "a.png", "b.jpg")}
    assert sorted(written(copies)) == ["out/a.jpg.txt", "out/a.png.txt", "out/b.txt"]


def test_of_frames_have_their_number():
    assert list(written({Path("walk.mp4"): Path("out/walk.mp4")}, frame=12)) == ["out/walk.000012.txt"]


def test_never_replace_an_input_or_a_copy():
    for other in (Path("out/a.long.txt"), Path("b.long.txt")):
        copies = {Path("out/a.jpg"): Path("out/a.jpg"), other: Path("out/a.long.txt")}
        with pytest.raises(InputError, match=r"out/a\.long\.txt would replace an image of that name"):
            written(copies, ("long.txt",))


def test_are_chosen_by_their_endings():
    assert chosen_endings(Texts(), None) == ["txt"]
    assert chosen_endings(Texts(), []) == []
    assert chosen_endings(Texts(), ["long.txt", "txt", "txt"]) == ["long.txt", "txt"]
    with pytest.raises(InputError, match=r"--files png: predictions of the task texts have txt, long\.txt: name"):
        chosen_endings(Texts(), ["png"])
