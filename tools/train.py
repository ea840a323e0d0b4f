"""Train a detector: see ``tools/train.py --help``."""

import sys

from detkit.engine.cli import run, train

if __name__ == "__main__":
    sys.exit(run(train))
