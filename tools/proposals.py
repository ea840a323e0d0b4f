"""Selective search over a data set: see ``tools/proposals.py --help``."""

import sys

from detkit.engine.cli import proposals, run

if __name__ == "__main__":
    sys.exit(run(proposals))
