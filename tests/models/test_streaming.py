"""Videos, cameras and many images are answered one after the other, and closed."""

import weakref

import cv2
import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.images import read_video, videos
from detkit.structures import Detections


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(score_threshold=0.0).eval()


@pytest.fixture
def walk(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(7):
        frame = np.full((48, 64, 3), 20, np.uint8)
        frame[10:30, 5 * number : 5 * number + 20] = 220
        writer.write(frame)
    writer.release()
    return path


class _Captures:
    """OpenCV's captures as they are, with a record of what is read and released."""

    def __init__(self, monkeypatch, camera=None):
        self.opened, self.read, self.released = [], 0, 0
        make = cv2.VideoCapture

        class Capture:
            def __init__(capture, source):
                self.opened.append(source)
                capture.inner = make(str(camera) if camera else source)

            def read(capture):
                self.read += 1
                return capture.inner.read()

            def release(capture):
                self.released += 1
                capture.inner.release()

        monkeypatch.setattr(videos.cv2, "VideoCapture", Capture)


def test_a_video_gives_each_frame_in_order(model, walk):
    frames = list(read_video(walk))
    for source in (walk, str(walk), walk.parent, f"{walk.parent}/*.avi"):
        answers = list(model.stream(source, batch_size=3))
        assert [one.source.frame for one in answers] == list(range(7))
        assert {one.source.name for one in answers} == {str(walk)}
        for one, frame in zip(answers, frames, strict=True):
            assert np.array_equal(one.image, frame)
            torch.testing.assert_close(one.boxes, model.predict(frame).boxes)


def test_frames_are_read_as_they_are_asked_for_and_closing_releases(model, walk, monkeypatch):
    captures = _Captures(monkeypatch)
    stream = model.stream(walk, batch_size=2)
    assert captures.opened == []
    next(stream)
    assert (captures.read, captures.released) == (2, 0)
    stream.close()
    assert (captures.read, captures.released) == (2, 1)


def test_no_frame_is_kept(model, walk):
    alive, most = [], 0
    for answer in model.stream(walk, batch_size=2):
        alive.append(weakref.ref(answer.source.image))
        del answer
        most = max(most, sum(one() is not None for one in alive))
    assert len(alive) == 7
    assert most <= 2  # those of a batch


def test_a_camera_is_read_by_its_number_one_frame_at_a_time(model, walk, monkeypatch):
    captures = _Captures(monkeypatch, camera=walk)
    stream = model.stream(0)
    assert next(stream).source.name == "camera 0"
    assert (captures.opened, captures.read) == ([0], 1)
    stream.close()
    address = "rtsp://host/walk"
    assert next(model.stream(address)).source.name == address
    assert captures.opened == [0, address]


def test_images_from_anywhere_may_come_one_after_the_other(model, walk):
    frames = list(read_video(walk))
    answers = list(model.stream((frame for frame in frames), batch_size=4, score_threshold=0.3))
    assert [type(one) for one in answers] == [Detections] * 7
    assert all((one.scores >= 0.3).all() for one in answers)
    assert len(list(model.stream(frames[0]))) == 1


def test_the_model_is_between_frames_as_it_was(make_model, walk):
    model = make_model().train()
    for _ in model.stream(walk, batch_size=4):
        assert model.training


def test_wrong_sources_are_refused(model, walk, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for source, said in {
        tmp_path / "none.mp4": "no such file",
        tmp_path / "broken.mp4": "finds no video frame",
        97: "camera 97 gives no frame",
    }.items():
        with pytest.raises(InputError, match=said):
            list(model.stream(source))
    for source in (-1, True):
        with pytest.raises(InputError, match="a camera is a number from 0"):
            model.stream(source)
    with pytest.raises(InputError, match=r"inputs\[1\] must be"):
        list(model.stream([np.zeros((9, 9, 3), np.uint8), None]))


def test_what_came_before_an_error_is_answered(model):
    answers, images = [], [np.zeros((40, 40, 3), np.uint8)] * 2 + ["none.jpg"]
    with pytest.raises(InputError, match=r"none\.jpg"):
        answers.extend(model.stream(images))
    assert len(answers) == 2
