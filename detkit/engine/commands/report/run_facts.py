"""What a report says of a run beside its numbers: recipe, environment, sources of the weights."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml

import detkit
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.config.records.checkpoint_record import provenance_in
from detkit.reporting import Section
from detkit.reporting.sections.run_sections import license_section

_PACKAGES = ("torch", "torchvision", "lightning", "numpy", "timm", "pycocotools")


def run_folder(checkpoint: Path) -> Path:
    """The folder that a checkpoint is in."""
    return checkpoint.resolve().parent


def recipe_text(checkpoint: Checkpoint) -> str:
    """The resolved recipe as YAML; of a checkpoint without one its model; empty where that is unknown too."""
    content = checkpoint.recipe or {"model": checkpoint.record["model"]}
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def environment(checkpoint: Checkpoint) -> dict[str, str]:
    """The checkpoint, what wrote it, and what has evaluated it here."""
    step, epoch = (checkpoint.content.get(key) for key in ("global_step", "epoch"))
    facts = {"checkpoint": str(checkpoint.path), "written by": f"detkit {checkpoint.record.get('version', 'unknown')}"}
    if step is not None:
        facts["trained for"] = f"{step} steps, {epoch} epochs"
    if checkpoint.content.get("ema") is not None:
        facts["weights"] = "the moving average of the training"
    facts["evaluated by"] = f"detkit {detkit.__version__}"
    facts |= {package: _version(package) for package in _PACKAGES}
    facts["Python"] = platform.python_version()
    facts["system"] = f"{platform.system()} {platform.machine()}"
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    facts["GPU"] = ", ".join(devices) or "none"
    return facts


def sources_section(checkpoint: Checkpoint) -> Section:
    """Where the weights come from, and the licenses of weights and code."""
    sources = provenance_in(checkpoint.record, checkpoint.path)
    lines = []
    if sources is None:
        lines.append("Weights: unknown, the file does not say where they come from.")
    elif not sources:
        lines.append("Weights: trained from random numbers; the file names no other source.")
    lines.append(f"Code: detkit {detkit.__version__}, Apache-2.0.")
    return license_section(lines, [(one.name, one.source, one.license) for one in sources or ()])


def made() -> str:
    """When and by what the page is made."""
    return f"Made by detkit {detkit.__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. This page works offline."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
