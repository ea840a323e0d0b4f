"""Writing whole files: what is there stays until the new file is complete."""

import ast
import errno
import os
import resource
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.files import check_writable, open_whole, open_whole_folder, remove_unfinished, write_into, write_whole


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


@contextmanager
def full_disk():
    """No file can have more than 100 bytes; no longer than needed, since pytest writes files too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path):
    write_whole(tmp_path / "a.bin", b"old")
    with pytest.raises(InputError, match=r"a\.bin cannot be written \(File too large\)"), full_disk():
        write_whole(tmp_path / "a.bin", bytes(200))
    with (
        pytest.raises(InputError, match=r"a\.bin cannot be written"),
        full_disk(),
        open_whole(tmp_path / "a.bin") as file,
    ):
        np.save(file, np.zeros(100))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_a_folder_that_does_not_fit_leaves_nothing(tmp_path):
    def write(size):
        with open_whole_folder(tmp_path / "new") as work:
            write_into(work, "a/b.txt", "small")
            write_into(work, "a/c.txt", bytes(size))

    with pytest.raises(InputError, match=r"new cannot be written \(File too large\)"), full_disk():
        write(200)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "ä" * 120, "x" * 255])
def test_a_name_as_long_as_file_systems_take(tmp_path, name):
    write_whole(tmp_path / name, b"content")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x" * 256, "file/a.txt", "gone\0"])
def test_names_that_cannot_be_are_said(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / name, b"content")
    with pytest.raises(InputError, match="cannot be written"), open_whole_folder(tmp_path / name / "a"):
        pass


@pytest.mark.parametrize("name", ["x" * 256, "file/a.txt", "file/new/a.txt", "folder"])
def test_a_file_that_cannot_be_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        check_writable(tmp_path / name)


def test_asking_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    (tmp_path / "old").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    for name in ("old", "pipe", "a.txt", "new/folder/a.txt"):
        check_writable(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "pipe"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole(tmp_path / "pipe", b"content")
    reader.join()
    assert received == [b"content"]
    assert (tmp_path / "pipe").is_fifo()


def test_threads_do_not_take_each_others_files(tmp_path):
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a", bytes([n]) * 5000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set((tmp_path / "a").read_bytes())) == 1
    assert len(list(tmp_path.iterdir())) == 1


WRITES = {"write_text", "write_bytes", "imwrite", "tofile", "to_csv", "VideoWriter", "mkstemp", "mkdtemp", "fdopen"}
WRITES |= {"NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory"}
INTO_OPEN_FILES = {"savefig", "dump", "save", "savez"}
OTHERS = {
    (
        "data/conversion/convert_folder.py",
        "TemporaryDirectory",
    ): "embedded images pass through it",
    (
        "engine/commands/prediction/prediction_files.py",
        "VideoWriter",
    ): "OpenCV's; its frames are counted",
    ("trust/inspection/inspection.py", "TemporaryDirectory"): "embedded images pass through it",
    ("exporting/precisions/int8.py", "TemporaryDirectory"): "ONNX Runtime quantizes from one file to another",
    ("engine/commands/inspect/recipe_on_data.py", "TemporaryDirectory"): "a recipe without weights passes through it",
    ("exporting/output_check.py", "TemporaryDirectory"): "a file is opened and compared before it is written",
    ("exporting/torch_programs.py", "save"): "into memory",
    ("engine/run/lock.py", "open"): "the lock of a run's folder is no content",
    ("engine/run/metrics_rows.py", "open"): "a row is appended to the metrics, whole or not at all",
}
"""Writers outside of `detkit.files`, and why."""


def test_no_other_room_opens_a_file_for_writing():
    package = Path(__file__).parents[2] / "detkit"
    found = set()
    for path in package.rglob("*.py"):
        if path.parent != package / "files":
            calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            found |= {(path.relative_to(package).as_posix(), name) for call in calls if (name := _writes(call))}
    assert sorted(found - OTHERS.keys()) == []


def _writes(call):
    """The name of a call that opens a file for writing."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in WRITES:
        return name
    arguments = [*call.args, *(word.value for word in call.keywords)]
    words = [one.value for one in arguments if isinstance(one, ast.Constant)]
    if name == "open" and any(isinstance(word, str) and set(word) & set("wax+") and len(word) < 4 for word in words):
        return name
    flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
    if name == "open" and flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"}:
        return name
    if name in INTO_OPEN_FILES and getattr(call.func, "value", None) is not None:
        into = [one.id for one in call.args if isinstance(one, ast.Name)]
        return None if set(into) & {"file", "encoded", "content"} or name == "dump" else name
    return None
