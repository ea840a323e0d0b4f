"""The metadata of an exported file: how to make its input, what its outputs mean, whose weights it holds."""

from __future__ import annotations

import json

import detkit
from detkit.exporting.recording import Recorded
from detkit.structures.weights_source import PROVENANCE_KEY, provenance_text
from detkit.tasks import task_of

FORMAT = "1"
"""The version of the contract of inputs, outputs and metadata, see docs/export.md; absent from raw files."""


def facts_of(recorded: Recorded) -> dict[str, str]:
    """The metadata of a file by key; all but names and versions are JSON."""
    model = recorded.model
    preprocess = model.preprocess
    facts = {
        "detkit.version": detkit.__version__,
        "detkit.model": type(model).__name__,
        "detkit.task": task_of(model).name,
        "detkit.precision": "float32" if recorded.is_exact else "float16",
        "detkit.classes": json.dumps([one.name for one in model.categories or []]),
        "detkit.license": json.dumps(sorted({source.license for source in model.provenance})),
        PROVENANCE_KEY: provenance_text(model.provenance),
    }
    if recorded.raw:
        return facts | {
            "detkit.mean": json.dumps(preprocess.mean.flatten().tolist()),
            "detkit.std": json.dumps(preprocess.std.flatten().tolist()),
            "detkit.size": json.dumps(list(recorded.inputs["images"].shape[-2:])),
        }
    meanings = task_of(model).export(model)
    return facts | {
        "detkit.format": FORMAT,
        "detkit.preprocess": json.dumps(preprocess.facts()),
        "detkit.outputs": json.dumps({name: meanings.get(name, "") for name in recorded.outputs}),
    }
