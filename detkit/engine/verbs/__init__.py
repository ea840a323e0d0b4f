"""The commands as functions: `detkit.train`, `evaluate`, `report`, `compare`, `export` and `verify`."""

from detkit.engine.verbs.evaluation import evaluate
from detkit.engine.verbs.exporting import export
from detkit.engine.verbs.finished_run import Run
from detkit.engine.verbs.run_comparison import compare
from detkit.engine.verbs.run_report import report
from detkit.engine.verbs.training import train
from detkit.engine.verbs.verification import verify

__all__ = ["Run", "compare", "evaluate", "export", "report", "train", "verify"]
