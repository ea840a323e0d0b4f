"""What ``detkit serve`` does after its arguments are parsed: take the port, load the model, serve."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from rich import get_console

from detkit.engine.callbacks.signals import SIGNALS
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.commands.prediction.devices import named_device
from detkit.errors import InputError
from detkit.tasks import task_of

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_TYPES = {"32-true": torch.float32, "bf16-true": torch.bfloat16, "16-true": torch.float16}


@dataclass(frozen=True)
class ServingOptions:
    """The arguments of ``detkit serve``."""

    run: str
    host: str
    port: int
    max_images: int
    max_megabytes: int
    max_pixels: int
    max_waiting: int
    batch_size: int
    focal_length: float | None
    device: str
    precision: Literal["32-true", "bf16-true", "16-true"]
    trust: list[str]


def serve(options: ServingOptions) -> None:
    """Serve a checkpoint until SIGINT or SIGTERM comes.

    Raises:
        InputError: an option is wrong, a package is missing, the port is taken, or the checkpoint cannot be served.
    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}, not installed here: pip install detkit[serve]")
    from detkit.serving import Limits, application

    limits = Limits(
        options.max_images, options.max_megabytes, options.max_pixels, options.max_waiting, options.batch_size
    )
    device = named_device(options.device)
    checkpoint = Checkpoint.read(options.run)
    with _bound_socket(options.host, options.port) as bound:
        model = checkpoint.model(device, options.trust).to(_TYPES[options.precision])
        app = application(model, limits, options.focal_length)
        words = f"{type(model).__name__} ({task_of(model).name}, {len(model.categories or [])} classes)"
        _run(app, bound, words)


def _bound_socket(host: str, port: int) -> socket.socket:
    """A socket that has taken the address, and does not listen yet."""
    if not 0 <= port < 2**16:
        raise InputError(f"--port must be from 0 to 65535, got {port}.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"--host {host} is no address of this machine ({error.strerror or error}).") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(
            f"Port {port} of {host} cannot be taken ({error.strerror or error}): give another one with --port."
        ) from error
    return bound


def _run(app: Any, bound: socket.socket, model: str) -> None:
    """Serve, and say so once requests are answered."""
    import uvicorn

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            host, port = bound.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            text = f"Serving {model} on http://{shown}:{port}, until Ctrl+C"
            get_console().print(text, highlight=False, markup=False, soft_wrap=True)

    # Its own configuration of logging closes the handlers of all other packages, and streams with them.
    config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, server_header=False)
    with _ended_by_signals():
        Announcing(config).run(sockets=[bound])


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals end the server, which then raises them once more, as an end of the process; for a server it is none."""
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
