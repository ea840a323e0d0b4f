"""The native reader of JSON against Python's: the same values, or None; whatever the bytes are, it does not crash."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_masks

from detkit.evaluation.files.json_columns import read_json_columns
from detkit.ops import backend as ops_backend

pytestmark = pytest.mark.skipif(ops_backend() == "reference", reason="the native kernels were not built")

COLUMNS = {"id": "key", "score": "flag", "bbox": "numbers", "segmentation": "mask"}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "file.json"

    def read(text, lists=None):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_json_columns(path, {"": COLUMNS} if lists is None else lists)

    return read


def as_python(columns):
    """The entries of a list of `COLUMNS`, the masks as run lengths of the size that they have, or as polygons."""
    masks = columns["segmentation"]
    entries = []
    for index, key in enumerate(columns["id"].as_list()):
        box = columns["bbox"].values[columns["bbox"].offsets[index] : columns["bbox"].offsets[index + 1]]
        polygons = [
            masks.corners[2 * masks.polygons[i] : 2 * masks.polygons[i + 1]].tolist()
            for i in range(masks.objects[index], masks.objects[index + 1])
        ]
        entries.append([key, columns["score"][index], box.tolist(), polygons, masks.masks.encoded(index)])
    return entries


def expected_of(entry):
    segmentation = entry.get("segmentation") or []
    encoded = {"size": [0, 0], "counts": b""}
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if isinstance(counts, list):
            counts = rle_masks.frPyObjects(segmentation, *segmentation["size"])["counts"].decode()
        encoded = {"size": segmentation["size"], "counts": counts.encode()}
        segmentation = []
    score = entry.get("score")
    score = np.nan if score is None else float(score)
    return [entry["id"], score, [float(value) for value in entry.get("bbox") or []], segmentation, encoded]


def random_entry(random):
    entry = {
        "id": random.choice([3, -7, 2**60, "a", 'q"\\é', 12.5]),
        "area": [{"x": [None, True, -0.0]}, "\N{CAT}"],
    }
    if random.random() < 0.8:
        entry["score"] = random.choice([None, True, False, 0, -1.5, 1e-7, float(random.random()), 10**20])
    if random.random() < 0.8:
        entry["bbox"] = random.choice([None, [], (random.random(4) * 1000).round(2).tolist(), [1, 2.5e3, -0.0]])
    image = np.asfortranarray(random.random((4, 9)) < 0.5, dtype=np.uint8)
    encoded = rle_masks.encode(image)
    lengths = [0, 6, 30] if random.random() < 0.5 else [1, 35]
    entry["segmentation"] = random.choice(
        [
            None,
            [],
            [[1.0, 2.0, 3.5, 4.0, 5.0, 6.0], [0.0, 1.0]],
            {"size": [4, 9], "counts": encoded["counts"].decode()},
            {"counts": lengths, "more": {}, "size": [4, 9]},
        ]
    )
    keys = random.permutation(list(entry))
    return {key: entry[key] for key in keys}


class Choosing(np.random.Generator):
    """numpy's `choice` would make arrays of what it chooses among."""

    def choice(self, options):
        return options[int(self.integers(len(options)))]


@pytest.mark.parametrize("seed", range(50))
def test_random_lists_are_read_as_by_python(read, seed):
    random = Choosing(np.random.PCG64(seed))
    entries = [random_entry(random) for _ in range(random.integers(0, 6))]
    text = json.dumps(
        entries, indent=random.choice([None, 0, 3]), ensure_ascii=random.choice([True, False]),
        separators=random.choice([None, (",", ":")]),
    )  # fmt: skip
    columns = read(text.replace("\n", random.choice(["\n", "\r\n\t"])))[""]
    np.testing.assert_equal(as_python(columns), [expected_of(entry) for entry in entries])


def test_truth_values_are_flags_and_no_numbers(read):
    for text, values in (("true", [1]), ("false", [0]), ("0.5", [0.5]), ("null", [np.nan])):
        given = f'[{{"x": {text}}}]'
        np.testing.assert_equal(read(given, {"": {"x": "flag"}})[""]["x"], values)
        if text in ("true", "false"):
            assert read(given, {"": {"x": "number"}}) is None


def test_lists_in_an_object(read):
    text = '{"info": {"a": [1]}, "a": [{"x": 1}, {"x": 2}], "b": [], "c": [{"y": 5}, {}]}'
    columns = read(text, {"a": {"x": "key"}, "b": {"x": "key"}, "c": {"y": "number"}})
    assert columns["a"]["x"].as_list() == [1, 2]
    assert columns["b"]["x"].as_list() == []
    np.testing.assert_equal(columns["c"]["y"], [5, np.nan])
    assert columns["a"]["x"].positions({2: 7}).tolist() == [-1, 7]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.integers().map(str),
        st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:f}"),
        st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    )
)
def test_numbers_are_pythons(read, text):
    columns = read(f'[{{"id": 0, "score": {text}}}]')
    expected = float(text)
    if columns is None:  # which leaves it to Python
        assert not np.isfinite(expected) or abs(expected) < 1e-300
    else:
        assert columns[""]["score"].tobytes() == np.float64(expected).tobytes()


MASK = '{"size": [4, 9], "counts": "T1"}'
ENTRY = f'{{"id": 1, "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": {MASK}}}'
REFUSED = {
    "empty": "",
    "nothing but space": " \n",
    "byte order mark": "\ufeff[]",
    "an object": ENTRY,
    "more after it": f"[{ENTRY}] x",
    "two lists": "[][]",
    "trailing comma": f"[{ENTRY},]",
    "no comma": f"[{ENTRY} {ENTRY}]",
    "entry not an object": "[1]",
    "no id": '[{"score": 1}]',
    "id null": '[{"id": null}]',
    "id a list": '[{"id": [1]}]',
    "id twice": '[{"id": 1, "id": 2}]',
    "escaped key": '[{"\\u0069d": 1}]',
    "key without quotes": "[{id: 1}]",
    "single quotes": "[{'id': 1}]",
    "NaN": '[{"id": 1, "score": NaN}]',
    "Infinity": '[{"id": 1, "score": Infinity}]',
    "too large": '[{"id": 1, "score": 1e999}]',
    "leading zero": '[{"id": 1, "score": 01}]',
    "leading plus": '[{"id": 1, "score": +1}]',
    "no digits": '[{"id": 1, "score": -}]',
    "no fraction": '[{"id": 1, "score": 1.}]',
    "no whole": '[{"id": 1, "score": .5}]',
    "no exponent": '[{"id": 1, "score": 1e}]',
    "hexadecimal": '[{"id": 1, "score": 0x10}]',
    "score a word": '[{"id": 1, "score": "high"}]',
    "box of words": '[{"id": 1, "bbox": ["1"]}]',
    "box nested": '[{"id": 1, "bbox": [[1]]}]',
    "odd polygon": '[{"id": 1, "segmentation": [[1, 2, 3]]}]',
    "polygon of truths": '[{"id": 1, "segmentation": [[true, 2]]}]',
    "flat polygon": '[{"id": 1, "segmentation": [1, 2, 3, 4, 5, 6]}]',
    "mask in words": '[{"id": 1, "segmentation": "all"}]',
    "no size": '[{"id": 1, "segmentation": {"counts": "T1"}}]',
    "no counts": '[{"id": 1, "segmentation": {"size": [4, 9]}}]',
    "counts twice": '[{"id": 1, "segmentation": {"size": [4, 9], "counts": "T1", "counts": "T1"}}]',
    "three sizes": '[{"id": 1, "segmentation": {"size": [4, 9, 1], "counts": "T1"}}]',
    "one size": '[{"id": 1, "segmentation": {"size": [4], "counts": "T1"}}]',
    "negative size": '[{"id": 1, "segmentation": {"size": [-4, -9], "counts": "T1"}}]',
    "huge size": '[{"id": 1, "segmentation": {"size": [1e300, 9], "counts": "T1"}}]',
    "half a pixel": '[{"id": 1, "segmentation": {"size": [4.5, 8], "counts": "T1"}}]',
    "negative run": '[{"id": 1, "segmentation": {"size": [4, 9], "counts": [-1, 37]}}]',
    "huge run": '[{"id": 1, "segmentation": {"size": [4, 9], "counts": [4294967296]}}]',
    "counts by number": '[{"id": 1, "segmentation": {"size": [4, 9], "counts": "\\u0054"}}]',
    "counts beyond ASCII": '[{"id": 1, "segmentation": {"size": [4, 9], "counts": "é"}}]',
    "bad escape": '[{"id": 1, "name": "\\x"}]',
    "short escape": '[{"id": 1, "name": "\\u12"}]',
    "new line in a string": '[{"id": 1, "name": "a\nb"}]',
    "not UTF-8": b'[{"id": 1, "name": "\xff"}]',
    "long way to write": b'[{"id": 1, "name": "\xc0\xaf"}]',
    "surrogate in UTF-8": b'[{"id": 1, "name": "\xed\xa0\x80"}]',
    "misspelt": '[{"id": 1, "name": nul}]',
    "deep": '[{"id": 1, "name": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    "deep objects": '[{"id": 1, "name": ' + '{"a":' * 100_000,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_out_of_the_ordinary_is_refused(read, text):
    assert read(text) is None


def test_a_missing_or_repeated_list_is_refused(read):
    lists = {"a": {"x": "key"}, "b": {"x": "key"}}
    assert read('{"a": [], "b": []}', lists) is not None
    assert read('{"a": []}', lists) is None
    assert read('{"a": [], "b": [], "a": []}', lists) is None
    assert read('{"a": [], "b": {}}', lists) is None


def test_every_truncated_file_is_refused(read):
    text = f"[{ENTRY}, {ENTRY.replace(MASK, '[[1, 2, 3.5, 4, 5, 6]]')}]"
    assert read(text) is not None
    assert all(read(text[:length]) is None for length in range(len(text)))


def test_damaged_files_are_refused_or_read_as_by_python(read):
    """Bytes changed, dropped and added anywhere."""
    random = np.random.default_rng(0)
    text, kept = f"[{ENTRY}, {ENTRY}]".encode(), 0
    alphabet = np.frombuffer(b' \t\n"\\[]{}:,.-+eE0123456789truefalsn\x00\x1f\x7f\x80\xc3\xa9\xff', dtype=np.uint8)
    for _ in range(600):
        damaged = bytearray(text)
        for _ in range(random.integers(1, 4)):
            at = random.integers(0, len(damaged))
            damaged[at : at + random.integers(0, 3)] = random.choice(alphabet, random.integers(0, 3)).tobytes()
        columns = read(bytes(damaged))
        if columns is None:
            continue
        kept += 1
        content = json.loads(damaged.decode())
        if all(isinstance(entry.get("segmentation"), dict) for entry in content):
            np.testing.assert_equal(as_python(columns[""]), [expected_of(entry) for entry in content])
    assert 20 < kept < 400
