"""The build backend: setuptools, plus the torch whose headers the native kernels are compiled against.

A build in isolation does not see the environment that detkit is being installed into, but it runs on the same
interpreter. So the torch that is installed there is used where it is new enough, which spares a download of gigabytes;
only where there is none is torch asked for as a build requirement. Nothing here imports torch.
"""

import importlib.util
import re
import sysconfig
import tomllib
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that stay as they are)


def _oldest_torch() -> tuple[int, int]:
    """The oldest torch that pyproject.toml allows, (major, minor): the one place that says it."""
    project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text())["project"]
    (version,) = (needed[1] for line in project["dependencies"] if (needed := re.fullmatch(r"torch>=(\d+\.\d+)", line)))
    major, minor = version.split(".")
    return int(major), int(minor)


OLDEST_TORCH = _oldest_torch()


def find_torch() -> Path | None:
    """The folder of a torch that is new enough to compile against, or None."""
    folders = [Path(sysconfig.get_path(scheme)) / "torch" for scheme in ("purelib", "platlib")]
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin is not None:
        folders.insert(0, Path(spec.origin).parent)
    return next((folder for folder in folders if _is_new_enough(folder)), None)


def torch_cuda_version(torch: Path) -> str | None:
    """The CUDA version that the torch in this folder was built with, such as "13.2"; None for a torch without CUDA."""
    match = re.search(r"^cuda\b.*= '([\d.]+)'", (torch / "version.py").read_text(), re.MULTILINE)
    return match and match[1]


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch_requirement()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _torch_requirement()


def _torch_requirement() -> list[str]:
    return [] if find_torch() else [f"torch>={'.'.join(map(str, OLDEST_TORCH))}"]


def _is_new_enough(torch: Path) -> bool:
    version = torch / "version.py"
    match = version.exists() and re.search(r"^__version__ = '(\d+)\.(\d+)", version.read_text(), re.MULTILINE)
    return bool(match) and (int(match[1]), int(match[2])) >= OLDEST_TORCH
