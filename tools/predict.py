"""Detect in images, folders and videos: see ``tools/predict.py --help``."""

import sys

from detkit.engine.cli import predict, run

if __name__ == "__main__":
    sys.exit(run(predict))
