"""Files are read once, as long as their content fits, and again after they were changed."""

import os

import pytest

from detkit.data.packed.file_cache import FileCache
from detkit.errors import InputError


@pytest.fixture
def files(tmp_path):
    for name in "abcd":
        (tmp_path / name).write_bytes(name.encode() * 10)
    return tmp_path


def _cache(most_bytes):
    read = []

    def reader(path):
        read.append(path[-1])
        with open(path, "rb") as file:
            return file.read()

    return FileCache(reader, len, most_bytes), read


def test_what_fits_is_read_once(files):
    cache, read = _cache(40)
    for name in "abcdabcd":
        assert cache(str(files / name)) == name.encode() * 10
    assert read == list("abcd")


def test_what_was_used_longest_ago_is_dropped(files):
    cache, read = _cache(30)
    for name in "abcadabcd":
        cache(str(files / name))
    # d takes the place of b, which takes that of c, and so on; a, used in between, stays.
    assert read == list("abcdbcd")


def test_what_is_larger_than_all_is_kept_alone(files):
    cache, read = _cache(5)
    for name in "aabba":
        cache(str(files / name))
    assert read == list("aba")


def test_a_changed_file_is_read_again(files):
    cache, read = _cache(40)
    path = files / "a"
    cache(str(path))
    path.write_bytes(b"other size")
    os.utime(path, ns=(1, 1))
    assert cache(str(path)) == b"other size"
    assert read == ["a", "a"]


def test_a_missing_file_is_the_reader_to_refuse():
    def refuse(path):
        raise InputError(f"{path} is not there")

    with pytest.raises(InputError, match="x is not there"):
        FileCache(refuse, len, 9)("x")
