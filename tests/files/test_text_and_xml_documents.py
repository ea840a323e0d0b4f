"""Text files line by line, the numbers and flags in them, and XML files."""

from pathlib import Path

import pytest

from detkit.errors import InputError
from detkit.files.text_documents import flag_in, number_in, numbers_in, read_lines, whole_number_in
from detkit.files.xml_documents import parse_xml, read_xml
from detkit.files.yaml_documents import parse_yaml


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_any_system(tmp_path: Path, encoding: str, end: str):
    path = tmp_path / "list.txt"
    path.write_bytes(end.join(["a", "", " b c\t", " ", "é"]).encode(encoding))
    assert read_lines(path) == [(1, "a"), (3, "b c"), (5, "é")]


@pytest.mark.parametrize("content", [b"caf\xe9\n", b"abc\0d\n", b"\xff\xfe\0"])
def test_files_that_are_no_text_are_named(tmp_path: Path, content: bytes):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"list\.txt"):
        read_lines(path)
    for missing in (tmp_path / "gone", tmp_path, tmp_path / "a\0b", tmp_path / ("a" * 300)):
        with pytest.raises(InputError, match=r"does not exist|is a folder|cannot read"):
            read_lines(missing)


def test_numbers_are_those_that_are_written():
    assert numbers_in("0 1.5\t-1e2 .5") == [0, 1.5, -100, 0.5]
    assert [numbers_in(text) for text in ("1_0", "0x1", "１", "1,5", "a")] == [None] * 5
    assert [number_in(text) for text in ("2.5", "nan", "1e400", "", "1 2")] == [2.5, None, None, None, None]
    assert [whole_number_in(text) for text in ("2", "2.0", "2.5", "yes")] == [2, 2, None, None]
    assert [flag_in(text) for text in ("0", "1", "True", "no", "maybe", "2")] == [False, True, True, False, None, None]


def test_xml_tells_what_it_holds_and_where():
    tree = parse_xml(b"<a>\n<b> x </b><b>y</b>\n<c/></a>", "f.xml")
    assert [(one.text, one.line) for one in tree.children("b")] == [("x", 2), ("y", 2)]
    assert (tree.child("c").line, tree.child("d").line, tree.child("d").text) == (3, 0, "")


def test_a_declared_encoding_that_is_not_used_is_no_fault():
    assert parse_xml(b'<?xml version="1.0" encoding="utf-16"?><a>x</a>', "f.xml").text == "x"
    with pytest.raises(InputError, match="not in ascii, which it declares"):
        parse_xml('<?xml version="1.0" encoding="ascii"?><a>é</a>'.encode(), "f.xml")


@pytest.mark.parametrize("content", [b"", b"  ", b"<a>", b"<a></b>", b"<a>&x;</a>", b"\0", b"no"])
def test_what_is_no_xml_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "f.xml").write_bytes(content)
    with pytest.raises(InputError, match=r"f\.xml"):
        read_xml(tmp_path / "f.xml")


def test_an_entity_bomb_is_refused_where_it_begins():
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(InputError, match=r"f\.xml:1: entities"):
        parse_xml(f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><a>&e11;</a>'.encode(), "f.xml")


@pytest.mark.parametrize("text", ["!!bool x", "!!int ''", "!!timestamp x", "!!float q"])
def test_yaml_values_that_do_not_fit_their_tag_are_named(text: str):
    with pytest.raises(InputError, match=r"f\.yaml: this is not YAML"):
        parse_yaml(f"a: {text}", "f.yaml")


def test_yaml_as_written():
    text = "a: [yes, 1.10, 2024-13-45, null, 0x1]\nb: &x {k: 1}\nc: {<<: *x}"
    assert parse_yaml(text, "f", as_written=True) == {
        "a": ["yes", "1.10", "2024-13-45", None, "0x1"],
        "b": {"k": "1"},
        "c": {"k": "1"},
    }
