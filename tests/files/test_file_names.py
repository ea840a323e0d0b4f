"""Which file a path of another program means."""

import unicodedata

import pytest

from detkit.files import FileNames

NAMES = FileNames(
    ["a.jpg", "train/b.jpg", "val/b.jpg", "deep/val/b.jpg", "C:\\data\\c.jpg", "Zürich/ä.jpg", "d.jpg", "./d.jpg"]
)


@pytest.mark.parametrize(
    ("name", "positions"),
    {
        "a.jpg": [0],
        "./a.jpg": [0],
        "photos/a.jpg": [0],
        "/home/me/../me/photos/a.jpg": [0],
        "photos\\a.jpg": [0],
        "train/b.jpg": [1],
        "set/train\\b.jpg": [1],
        "val/b.jpg": [2],
        "deep/val/b.jpg": [3],
        "very/deep/val/b.jpg": [3],
        "other/val/b.jpg": [2],
        "b.jpg": [1, 2, 3],
        "test/b.jpg": [],
        "data/c.jpg": [4],
        "/data/c.jpg": [4],
        "D:/data/c.jpg": [],
        unicodedata.normalize("NFD", "Zürich/ä.jpg"): [5],
        "d.jpg": [6, 7],
        "xa.jpg": [],
        "": [],
        "/": [],
        "..": [],
    }.items(),
)  # fmt: skip
def test_one_path_ends_with_the_other(name, positions):
    assert NAMES.find(name) == positions


def test_the_nearest_is_the_same_file_in_another_folder_else_a_name_alike():
    assert NAMES.nearest("test/b.jpg") == "train/b.jpg"
    assert NAMES.nearest("a.jpeg") == "a.jpg"
    assert FileNames([]).nearest("a.jpg") is None
    assert FileNames([]).find("a.jpg") == []
