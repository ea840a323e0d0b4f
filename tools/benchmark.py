"""Measure detkit against torchvision and others in the same process, with the same number of threads.

    python tools/benchmark.py ops --threads 1 --out ops.json
    python tools/benchmark.py models --help

Both sides of a case run interleaved, so that other load on the machine affects both alike.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "coco": "COCO evaluation, from files to metrics, compared with other installed programs",
    "dense": "dense evaluation of all windows of an image, compared with one crop at a time",
    "loader": "the training loader, compared with OpenCV's decoding alone and torchvision's transforms v2",
    "models": "whole detectors, their parts, and torchvision's counterparts",
    "ops": "the operations of detkit.ops, compared with torchvision's and pycocotools'",
    "proposals": "selective search, compared with OpenCV contrib's where it is installed",
    "steps": "training steps and predictions of whole batches, compared with torchvision's",
}
"""By the name of a module in `benchmarks`, what it measures."""


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark that the first of `arguments` names."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(f"  {name:10} {measured}" for name, measured in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, help="what to measure; `COMMAND --help` shows its options")
    command = parser.parse_args(arguments[:1]).command
    # Imported only now: each needs other packages.
    module = importlib.import_module(f"benchmarks.{command}")
    options = argparse.ArgumentParser(prog=f"{parser.prog} {command}", description=COMMANDS[command])
    module.add_arguments(options)
    options.add_argument("--out", type=Path, help="also write the measurements to this JSON file")
    module.benchmark(**vars(options.parse_args(arguments[1:])))


if __name__ == "__main__":
    main(sys.argv[1:])
