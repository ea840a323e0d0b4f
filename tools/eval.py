"""Evaluate a checkpoint or a file of detections: see ``tools/eval.py --help``."""

import sys

from detkit.engine.cli import evaluate, run

if __name__ == "__main__":
    sys.exit(run(evaluate))
