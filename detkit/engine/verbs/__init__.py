"""The commands as functions: `detkit.train`, `detkit.evaluate`, `detkit.export` and `detkit.verify`."""

from detkit.engine.verbs.evaluation import evaluate
from detkit.engine.verbs.exporting import export
from detkit.engine.verbs.finished_run import Run
from detkit.engine.verbs.training import train
from detkit.engine.verbs.verification import verify

__all__ = ["Run", "evaluate", "export", "train", "verify"]
