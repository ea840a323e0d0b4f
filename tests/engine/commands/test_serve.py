"""``detkit serve``: a process that answers, ends by a signal, and refuses what is wrong before it loads a model."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from recipes import FASTER_RCNN

import detkit
from detkit.engine.checkpoint import build_model, save_model
from detkit.structures import Category

CONFIG = {**FASTER_RCNN, "init_args": {**FASTER_RCNN["init_args"], "num_classes": 2}}
IMAGE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))[1].tobytes()
BODY = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + IMAGE + b"\r\n--x--\r\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    model = build_model(CONFIG, (), "")
    model.categories = [Category(1, "cat"), Category(2, "dog")]
    save_model(model, CONFIG, path)
    return path


@contextmanager
def serving(checkpoint: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server on a free port, which its first line names."""
    command = [sys.executable, "-m", "detkit.engine.cli", "serve", str(checkpoint), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"Serving FasterRCNN \(detection, 2 classes\) on http://127\.0\.0\.1:(\d+).*\n", line)
        assert found, line + process.stderr.read()
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def test_answers_and_ends_by_a_signal_when_what_has_begun_is_answered(checkpoint):
    with serving(checkpoint) as (process, port):
        facts = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        assert facts["classes"] == ["cat", "dog"]
        # The server asks for the body once the request has begun; the rest is sent after the signal.
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            head = f"POST /predict?score=0 HTTP/1.1\r\nHost: here\r\nContent-Length: {len(BODY)}\r\n"
            head += "Content-Type: multipart/form-data; boundary=x\r\nExpect: 100-continue\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGTERM)
            connection.sendall(BODY)
            answer = b"".join(iter(lambda: connection.recv(2**16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        model = detkit.load(checkpoint, device="cpu")
        pixels = cv2.imdecode(np.frombuffer(IMAGE, np.uint8), cv2.IMREAD_COLOR_RGB)
        scores = [one["score"] for one in json.loads(body)["images"][0]["results"]]
        assert scores == pytest.approx(model.predict(pixels).scores.tolist(), abs=1e-6)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_runs_with_each_precision(checkpoint, monkeypatch, detkit_command):
    served = []
    monkeypatch.setattr(
        "detkit.engine.commands.serve.running._run", lambda app, bound, words: served.append((words, bound))
    )
    models = []
    monkeypatch.setattr("detkit.serving.application", lambda model, limits, camera: models.append((model, limits)))
    for precision in ("32-true", "bf16-true"):
        given = ("--port", 0, "--device", "cpu", "--precision", precision, "--max_images", 3, "--batch", 2)
        status, said = detkit_command("serve", checkpoint, *given)
        assert status == 0, said
    assert [str(next(model.parameters()).dtype) for model, _ in models] == ["torch.float32", "torch.bfloat16"]
    assert (models[0][1].max_images, models[0][1].batch_size) == (3, 2)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["run"]),
        (["missing.ckpt"], ["missing.ckpt"]),
        (["RUN", "--port", "TAKEN"], ["Port TAKEN of 127.0.0.1", "--port"]),
        (["RUN", "--port", "70000"], ["--port must be from 0 to 65535"]),
        (["RUN", "--host", "no.such.host.invalid"], ["--host no.such.host.invalid"]),
        (["RUN", "--max_images", "0"], ["max_images must be at least 1"]),
        (["RUN", "--batch_size", "0"], ["batch_size must be at least 1"]),
        (["RUN", "--device", "quantum"], ["--device quantum"]),
        (["RUN", "--precision", "8"], ["precision", "bf16-true"]),
        (["RUN", "--max_image", "3"], ["--max_image", "max_images"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_input_is_told_before_the_model_is_loaded(
    checkpoint, taken_port, detkit_command, monkeypatch, argv, words
):
    monkeypatch.setattr(
        "detkit.engine.commands.serve.running.Checkpoint.model", lambda *_: pytest.fail("the model is loaded")
    )
    filled = {"RUN": str(checkpoint)}
    status, said = detkit_command("serve", *[filled.get(one, one.replace("TAKEN", str(taken_port))) for one in argv])
    assert status == 2
    assert not [word for word in words if word.replace("TAKEN", str(taken_port)) not in said], said
    assert said.count("\n") == 1


def test_a_missing_package_is_named(checkpoint, detkit_command, monkeypatch):
    monkeypatch.setattr("detkit.engine.commands.serve.running.find_spec", lambda name: None)
    status, said = detkit_command("serve", checkpoint)
    assert status == 2
    assert said == (
        "detkit: serve needs fastapi, uvicorn, python-multipart, not installed here: pip install detkit[serve]\n"
    )
