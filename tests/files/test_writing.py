"""Writing whole files: what is there stays until the new file is complete."""

import errno
import os

import pytest

from detkit.errors import InputError
from detkit.files import open_whole, remove_unfinished, write_whole


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path):
    write_whole(tmp_path / "new" / "a.txt", "ä")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä".encode()
    write_whole(tmp_path / "new" / "a.txt", b"b")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), open_whole(path) as file:
        raise KeyError(file.write(b"half"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    message = r"a\.txt cannot be written \(No space left on device\); free some space"
    with pytest.raises(InputError, match=message), open_whole(path):
        raise OSError(errno.ENOSPC, "full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"/a cannot be written"):
        write_whole(tmp_path / "a", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    child = os.fork()
    if child == 0:
        with open_whole(tmp_path / "a.txt") as file:
            file.write(b"half")
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".keep").touch()
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".keep"]
