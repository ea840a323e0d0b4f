"""Find anchors for the boxes of a data set: see ``tools/anchors.py --help``."""

import sys

from detkit.engine.cli import run
from detkit.engine.commands.fit_anchors import anchors_command

if __name__ == "__main__":
    sys.exit(run(anchors_command))
