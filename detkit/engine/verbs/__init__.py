"""The commands as functions: `train`, `evaluate`, `export`, `inspect` and `verify` of `detkit`."""

from detkit.engine.verbs.data_inspection import inspect
from detkit.engine.verbs.evaluation import evaluate
from detkit.engine.verbs.exporting import export
from detkit.engine.verbs.finished_run import Run
from detkit.engine.verbs.training import train
from detkit.engine.verbs.verification import verify

__all__ = ["Run", "evaluate", "export", "inspect", "train", "verify"]
