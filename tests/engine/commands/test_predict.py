import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from local_server import serving
from tiny_detector import TinyDetector

from detkit.engine.commands.prediction.prediction_files import annotated_copies
from detkit.images import read_video

TRUST = ("--trust", "tiny_detector")


@pytest.fixture
def command(run_folder, detkit_command):
    def predict(*argv):
        return detkit_command("predict", *argv, "--checkpoint", run_folder, *TRUST, "--score_threshold", "0")

    return predict


def write_video(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for frame in range(frames):
        writer.write(np.full((48, 64, 3), 20 * frame, np.uint8))
    writer.release()


def test_images_of_folders_with_the_same_names(command, shapes_root):
    val, test = shapes_root / "images" / "val", shapes_root / "images" / "test"
    status, said = command(val, test, "--out", "found")
    assert status == 0, said
    names = sorted(str(path.relative_to(shapes_root / "images")) for folder in (val, test) for path in folder.iterdir())
    copies = sorted(str(path.relative_to("found")) for path in Path("found").rglob("*.*") if path.suffix != ".json")
    assert copies == names

    entries = json.loads(Path("found/detections.json").read_text())
    assert [entry["image_id"] for entry in entries] == [entry["file_name"] for entry in entries]
    assert {entry["file_name"] for entry in entries} == {str(shapes_root / "images" / name) for name in names}
    assert entries[0].keys() == {"file_name", "image_id", "category_id", "category", "bbox", "score"}
    assert all(entry["bbox"][2] > 0 for entry in entries)


def test_a_video_and_an_image_of_an_unusual_format(command, tmp_path):
    write_video(tmp_path / "walk.avi.mp4", 3)
    os.rename(tmp_path / "walk.avi.mp4", tmp_path / "walk.mov")
    cv2.imwrite(str(tmp_path / "gray.pgm"), np.zeros((30, 40), np.uint8))
    status, said = command("walk.mov", "*.pgm", "--out", "found", "--batch_size", "2")
    assert status == 0, said
    assert len(list(read_video("found/walk.mov.mp4"))) == 3
    assert Path("found/gray.pgm.png").is_file()
    entries = json.loads(Path("found/detections.json").read_text())
    assert [(entry["file_name"], entry.get("frame")) for entry in entries] == [
        ("walk.mov", 0),
        ("walk.mov", 1),
        ("walk.mov", 2),
        ("gray.pgm", None),
    ]


def test_addresses(command, tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    cv2.imwrite(str(tmp_path / "web" / "a.png"), np.zeros((30, 40, 3), np.uint8))
    with serving(tmp_path / "web", monkeypatch) as address:
        images = [f"{address}/a.png?size=1", f"{address}/a.png?size=2", f"{address}/none.png"]
        status, said = command(*images, "web/a.png", "--out", "found")
    assert status == 2
    assert "none.png: the server answers 404" in said
    host = address.removeprefix("http://").replace(":", "%3A")
    copies = sorted(str(path.relative_to("found")) for path in Path("found").rglob("*.png"))
    assert copies == [f"{host}/a_size%3D1.png", f"{host}/a_size%3D2.png", "a.png"]
    entries = json.loads(Path("found/detections.json").read_text())
    assert {entry["file_name"] for entry in entries} == {*images[:2], "web/a.png"}


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host", "host/index.png"),
        ("https://host/../../etc/a.jpg", "host/etc/a.jpg"),
        ("http://host/b/walk.avi", "host/b/walk.avi.mp4"),
    ],
)
def test_copies_of_addresses_stay_in_the_output_folder(address, path):
    assert annotated_copies([address], Path("out")) == {address: Path("out") / path}


def test_an_unreadable_input_is_named_and_the_others_are_done(command, shapes_root, tmp_path):
    good = min((shapes_root / "images" / "val").iterdir())
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    status, said = command("broken.jpg", good, "--out", "found")
    assert status == 2
    assert "broken.jpg" in said
    assert "1 of 2 inputs could not be read" in said
    assert len(json.loads(Path("found/detections.json").read_text())) == 1


def test_a_signal_loses_nothing_that_was_done(command, shapes_root, monkeypatch):
    detect, calls = TinyDetector.detect, []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return detect(self, images)

    monkeypatch.setattr(TinyDetector, "detect", interrupted)
    status, said = command(shapes_root / "images" / "val", "--out", "found", "--batch_size", "1")
    assert status == 143
    assert "2 images are in found" in said
    assert len(json.loads(Path("found/detections.json").read_text())) == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nothing.jpg", "--out", "found"], ["nothing.jpg"]),
        (["--out", "found"], ["inputs"]),
        (["IMAGES"], ["out"]),
        (["IMAGES", "--out", "IMAGES"], ["would replace", "another folder"]),
        (["IMAGES", "--out", "found", "--device", "cudda"], ["--device cudda"]),
        (["IMAGES", "--out", "found", "--batch_size", "0"], ["batch_size"]),
        (["IMAGES", "--out", "file"], ["file"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input(command, shapes_root, tmp_path, argv, words):
    (tmp_path / "file").write_text("")
    images = str(shapes_root / "images" / "val")
    status, said = command(*(images if argument == "IMAGES" else argument for argument in argv))
    assert status == 2
    assert not [word for word in words if word not in said], said
    assert "Traceback" not in said
