"""Find anchors for the boxes of a data set: see ``tools/anchors.py --help``."""

import sys

from detkit.engine.anchors import anchors_command
from detkit.engine.cli import run

if __name__ == "__main__":
    sys.exit(run(anchors_command))
