"""Mutated COCO files and segmentations: read, or refused with an `InputError`; never another error, crash or hang."""

from __future__ import annotations

import copy
import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from image_files import noise, write_image

from detkit.data import CocoDataset
from detkit.errors import InputError
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.ops import RunLengths, polygons_to_rle

SQUARE = [3, 3, 12, 3, 12, 9, 3, 9]
CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 16, "width": 20},
        {"id": 2, "file_name": "a.png", "height": 16, "width": 20},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 3, 9, 6], "area": 54, "iscrowd": 0, "ignore": 0,
         "segmentation": [SQUARE], "keypoints": [4, 4, 2, 5, 5, 1], "num_keypoints": 2, "difficult": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5], "area": 25.0, "iscrowd": 1,
         "segmentation": {"size": [16, 20], "counts": [40, 8, 272]}},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [1, 1, 5, 5],
         "segmentation": {"size": [16, 20], "counts": "X18`8"}},
        {"id": 4, "image_id": 2, "category_id": 1, "segmentation": [SQUARE, [1, 1, 4, 1, 4, 4]]},
    ],
    "categories": [
        {"id": 1, "name": "one", "keypoints": ["left", "right"], "skeleton": [[1, 2]], "isthing": 1},
        {"id": 2, "name": "two", "color": [1, 2, 3], "sigmas": []},
    ],
}  # fmt: skip
LITERALS = [
    *(
        "null",
        "true",
        "false",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e300",
        "1e15",
        "1e9",
        "-1e9",
        "2e8",
    ),
    *("3e8", "1e-320", "-0.0", "0", "1", "-1", "2", "0.5", "4096.5"),
    *(str(one) for one in (2**31, 2**31 - 1, 2**32, 2**53 + 1, 2**63, 2**63 - 1, -(2**63), 2**64, 10**20)),
    *(
        "1" + "0" * 400,
        "1" * 5000,
        '""',
        '"0"',
        '"1"',
        '"a"',
        '"\\ud800"',
        '"\\u0000"',
        '"' + "x" * 9000 + '"',
        '"\\n"',
    ),
    *("[]", "{}", "[[]]", "[[[]]]", "[1]", "[1,2,3]", "[1,2,3,4]", "[null,1,2,3]", "[[1,2,3,4]]"),
    *("[[1,2,3,4,5,6,7]]", "[[1,2,3,4,5,null]]", "[[0,0,1e9,0,1e9,1e9]]", "[[0,0,2e8,0,2e8,2e8]]"),
    "[[-2e8,-2e8,2e8,-2e8,2e8,2e8,-2e8,2e8]]",
    *('{"size":[16,20],"counts":"d:"}', '{"size":[1e9,1e9],"counts":"d:"}', '{"size":[0,0],"counts":[]}'),
    *('{"size":[16,20],"counts":[-1,321]}', '{"size":[16,20],"counts":[160.5,159.5]}', '{"size":[16,20],"counts":""}'),
    *('{"size":[16,20],"counts":[0,0,0,320]}', '{"size":[46340,46340],"counts":"0"}', '{"size":null,"counts":[320]}'),
    *("[" * 30 + "]" * 30, "[" * 3000 + "]" * 3000, '{"a":' * 600 + "1" + "}" * 600),
]
MEGABYTE = 2**20


def mutated(source: random.Random) -> bytes:
    """The text of a file with values replaced, keys dropped or doubled, or bytes damaged."""
    content = copy.deepcopy(CONTENT)
    placed: dict[str, str] = {}
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        parent, key = _random_value(content, source)
        if source.random() < 0.1 and isinstance(parent, dict):
            del parent[key]
        elif source.random() < 0.1 and isinstance(parent, list):
            parent.append(copy.deepcopy(source.choice(parent)))
        else:
            mark = f"@{len(placed)}@"
            parent[key], placed[json.dumps(mark)] = mark, source.choice(LITERALS)
    text = json.dumps(content)
    for mark, literal in placed.items():
        text = text.replace(mark, literal)
    data = bytearray(text.encode(source.choice(("utf-8",) * 12 + ("utf-8-sig", "utf-16", "utf-32"))))
    if source.random() < 0.05:
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(len(data))
            data[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
    return bytes(data)


def _random_value(content: dict, source: random.Random):
    """A container of the content and the key of a value in it; deep ones are as likely as shallow ones."""
    node = content[source.choice(["images", "annotations", "annotations", "annotations", "categories"])]
    parent, key = node, source.randrange(len(node))
    while source.random() < 0.8 and isinstance(parent[key], (dict, list)) and parent[key]:
        parent = parent[key]
        key = source.choice(list(parent)) if isinstance(parent, dict) else source.randrange(len(parent))
    return parent, key


def read_all(path: Path, content: bytes, source: random.Random) -> int:
    """How many of the readers took a file; each takes it or refuses it with one sentence."""
    path.write_bytes(content)
    taken = 0
    iou_type = source.choice(["bbox", "segm", "keypoints"])
    reads = {"bbox": [], "segm": ["masks"], "keypoints": ["keypoints"]}[iou_type]
    policy = source.choice(["error", "skip"])

    def train() -> None:
        dataset = CocoDataset(path.parent, path, reads=reads, on_bad_box=policy)
        for index in range(len(dataset)):
            dataset[index]
        dataset.ground_truth()

    def evaluate() -> None:
        read_ground_truth(path, iou_type)

    def evaluate_content() -> None:
        parsed = json.loads(content)
        if isinstance(parsed, dict):
            read_ground_truth(parsed, iou_type)

    results = []
    for reader in (train, evaluate, evaluate_content):
        try:
            reader()
            results.append("")
            taken += 1
        except InputError as error:
            said = str(error)
            assert len(said.splitlines()) == 1, said
            said.encode()
            results.append(said.replace("annotations: ", f"{path}: ", 1))
        except (ValueError, RecursionError):
            if reader is not evaluate_content:  # where this test's own json.loads may fail
                raise
            results.append(results[1])
    assert results[1] == results[2] or "true" in content.decode(errors="ignore"), results
    return taken


def convert(source: random.Random) -> int:
    """Whether a random segmentation is taken by the functions that encode masks."""
    try:
        value = json.loads(source.choice(LITERALS))
    except (ValueError, RecursionError):
        return 0
    polygon = [source.choice([0, 5, 19.5, -3, 1e8, value]) for _ in range(source.choice((6, 8, 7)))]
    size = source.choice([(16, 20), (0, 20), (1, 1)])
    taken = 0
    for run in (
        lambda: polygons_to_rle([source.choice([[polygon], value if isinstance(value, list) else [value]])], *size),
        lambda: RunLengths.from_coco([value if isinstance(value, dict) else {"size": [16, 20], "counts": value}]),
        lambda: RunLengths.from_coco([{"size": value, "counts": [source.choice([0, 320, value])]}]),
    ):
        try:
            run()
            taken += 1
        except InputError:
            pass
        except KeyError:
            assert isinstance(value, dict)
    return taken


def fuzz(folder: Path, seed: int, files: int, conversions: int) -> tuple[int, int]:
    """Run both; how many readings and conversions were taken."""
    source = random.Random(seed)
    write_image(folder / "a.png", noise(16, 20))
    readings = sum(read_all(folder / "a.json", mutated(source), source) for _ in range(files))
    return readings, sum(convert(source) for _ in range(conversions))


def test_mutated_files_and_segmentations(tmp_path):
    readings, conversions = fuzz(tmp_path, seed=0, files=250, conversions=1000)
    assert 100 < readings < 700
    assert 100 < conversions < 2900


@pytest.mark.slow
def test_many_mutants_in_little_memory(tmp_path):
    """In a process of its own: a crash must not end the tests, and its memory is limited."""
    run = f"test_coco_fuzz.main({str(tmp_path)!r}, 1, 4000, 6000)"
    program = f"import sys; sys.path[:0] = {sys.path!r}\nimport test_coco_fuzz; {run}"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def main(folder: str, seed: int, files: int, conversions: int) -> None:
    """Fuzz with at most a gigabyte of memory beyond what the process has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * MEGABYTE, -1))
    print(fuzz(Path(folder), seed, files, conversions))
