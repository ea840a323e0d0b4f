"""Downloads of published weights: hosts that do not answer, slow ones, corrupt files. Nothing is fetched."""

import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from detkit.backbones import TimmBackbone, TorchvisionBackbone, published
from detkit.backbones.published import PublishedFile, fetched, timm_file, torchvision_file
from detkit.errors import InputError


@pytest.fixture(autouse=True)
def _nothing_local(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(published, "ANSWER_SECONDS", 0.2)


@pytest.fixture
def never():
    """A download that retries for ever; ends with the test."""
    over = threading.Event()
    yield over.wait
    over.set()


def _file(port, path=None):
    return PublishedFile(f"http://127.0.0.1:{port}/net-00000000.pth", path, False)


def test_a_host_that_accepts_and_never_answers(never):
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(InputError, match="no answer within"):
        fetched(_file(server.getsockname()[1]), never)


def test_a_port_that_refuses(never):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InputError, match="refused"):
        fetched(_file(port), never)


def test_a_name_that_is_not_found_in_time(never, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never())
    with pytest.raises(InputError, match="no answer within"):
        fetched(_file(80), never)


def test_a_slow_download_goes_on():
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(405)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = fetched(_file(server.server_port), lambda: time.sleep(0.5) or "all of it")
        server.shutdown()
    assert result == "all of it"
    assert socket.getdefaulttimeout() is None


def test_a_download_that_fails_by_itself_says_why(monkeypatch):
    monkeypatch.setattr(published, "ask", lambda url: None)

    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fetched(_file(9), fail)


def test_a_corrupt_copy_is_refused(tmp_path):
    content = b"weights"
    name = hashlib.sha256(content).hexdigest()[:8]
    path = tmp_path / f"net-{name}.pth"
    file = PublishedFile("http://127.0.0.1:9/", path, True)
    path.write_bytes(content)
    assert fetched(file, lambda: "sound") == "sound"
    path.write_bytes(b"weight!")
    with pytest.raises(InputError, match=f"net-{name}.pth is corrupt: its SHA-256 begins with .*; delete it"):
        fetched(file, lambda: "never made")


@pytest.mark.parametrize("backbone", [TorchvisionBackbone, TimmBackbone])
def test_the_message_names_the_file_and_where_to_put_it(never, monkeypatch, tmp_path, backbone):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never())
    with pytest.raises(InputError) as error:
        backbone("resnet18", weights="DEFAULT")
    message = str(error.value)
    if backbone is TorchvisionBackbone:
        assert "fetch https://download.pytorch.org/models/resnet18-f37072fd.pth elsewhere" in message
        assert f"put it at {tmp_path}/checkpoints/resnet18-f37072fd.pth" in message
    else:
        assert "fetch https://huggingface.co/timm/resnet18" in message
    assert "give the path of a weights file, or none (null in a config)" in message


def test_a_file_put_by_hand_needs_no_network(tmp_path):
    file = torchvision_file("resnet18")
    assert not file.is_local
    file.path.parent.mkdir()
    file.path.write_bytes(b"")
    assert torchvision_file("resnet18").is_local
    assert torchvision_file("resnet1800") is None
    assert timm_file("darknet17") is None
