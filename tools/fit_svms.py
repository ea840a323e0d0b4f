"""Fit the SVMs of a trained R-CNN: see ``tools/fit_svms.py --help``."""

import sys

from detkit.engine.cli import fit_svms, run

if __name__ == "__main__":
    sys.exit(run(fit_svms))
