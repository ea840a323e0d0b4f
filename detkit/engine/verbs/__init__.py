"""The commands as functions of `detkit`: `train`, `evaluate`, `doctor`, `report`, `compare`, `export` and so on."""

from detkit.engine.verbs.checks.data_inspection import inspect
from detkit.engine.verbs.checks.examining import doctor
from detkit.engine.verbs.evaluation import evaluate
from detkit.engine.verbs.exporting import export
from detkit.engine.verbs.finished_run import Run
from detkit.engine.verbs.run_comparison import compare
from detkit.engine.verbs.run_report import report
from detkit.engine.verbs.training import train
from detkit.engine.verbs.verification import verify

__all__ = ["Run", "compare", "doctor", "evaluate", "export", "inspect", "report", "train", "verify"]
