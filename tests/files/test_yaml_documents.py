"""Reading YAML files: YAML 1.2's truth values, no key twice, no bombs."""

import pytest

from detkit.errors import InputError
from detkit.files import parse_yaml, read_yaml


def test_yes_and_no_are_text_and_true_is_a_truth_value():
    assert parse_yaml("names: [yes, no, on, off, y, n, true, False]", "a") == {
        "names": ["yes", "no", "on", "off", "y", "n", True, False]
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2020-01-01", "2020-01-01"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("1.5", 1.5),
        ("1e-3", 1e-3),
        ("-1.5e3", -1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("08", 8),
        ("e5", "e5"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    result = parse_yaml(f"a: [{text}]", "a")["a"][0]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_are_told_apart(tmp_path, encoding):
    (tmp_path / "a.yaml").write_text("a: ä\n", encoding)
    assert read_yaml(tmp_path / "a.yaml") == {"a": "ä"}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "b:\n  - {x: 1, x: 1}", "1: a\n1: b"])
def test_a_key_twice_is_named(text):
    with pytest.raises(InputError, match=r"a\.yaml: .* is there twice .*line"):
        parse_yaml(text, "a.yaml")


def test_a_merge_may_be_overridden():
    assert parse_yaml("x: &x {a: 1}\ny: {<<: *x, a: 2}", "a") == {"x": {"a": 1}, "y": {"a": 2}}


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: {c: *a}}"])
def test_a_cycle_is_refused(text):
    with pytest.raises(InputError, match="inside of its own anchor"):
        parse_yaml(text, "a.yaml")


def test_nested_anchors_are_refused_before_they_are_written_out():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases repeat too many values"):
        parse_yaml("\n".join(lines), "a.yaml")


@pytest.mark.parametrize(
    "text", ["a: [", "!!python/object:os.system {}", "\x00", "[" * 100_000, b"\xff\xff", "? [a]\n: 1"]
)
def test_what_is_not_plain_yaml_is_one_sentence(text):
    with pytest.raises(InputError, match=r"^a\.yaml: .*YAML"):
        parse_yaml(text, "a.yaml")


def test_dates_are_text():
    """They are no type of YAML 1.2, and a class may have such a name."""
    assert parse_yaml("names: [2020-01-01, 2020-13-45]", "a.yaml") == {"names": ["2020-01-01", "2020-13-45"]}
