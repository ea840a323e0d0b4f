"""Reading JSON files: every encoding of the standard, one sentence for what is not JSON."""

import pytest

from detkit.errors import InputError
from detkit.files import parse_json, read_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_unicode_encoding_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"ä": 1}', encoding)
    assert read_json(tmp_path / "a.json") == {"ä": 1}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1,]", b"\xff\xfe\xfd", '{"ä": 1}'.encode("gbk", "replace") + b"\x81", b"1" * 5000]
)
def test_what_is_not_json_is_named(content):
    with pytest.raises(InputError, match=r"^a\.json: this is not a whole JSON file"):
        parse_json(content, "a.json")


def test_deep_nesting_is_named():
    with pytest.raises(InputError, match=r"a\.json: lists or objects are nested too deeply"):
        parse_json(b"[" * 1_000_000, "a.json")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="is a folder"):
        read_json(tmp_path)
