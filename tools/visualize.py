"""Show what a network responds to in an image: see ``tools/visualize.py --help``."""

import sys

from detkit.engine.cli import run, visualize

if __name__ == "__main__":
    sys.exit(run(visualize))
