"""``tools/anchors.py``: anchors of a YOLO for the boxes of an annotation file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from detkit.anchors import kmeans_anchors, shape_iou
from detkit.engine.commands.anchors.box_shapes import network_shapes, read_coco_boxes
from detkit.errors import InputError
from detkit.preprocess import Letterbox

DESCRIPTION = """Find anchors that fit the boxes of a COCO annotation file (YOLOv2, section 2).

Prints the anchors, smallest first, in the form of a config: width and height in pixels of a letterboxed square input.
Also prints the mean IoU of the boxes' shapes with their most similar anchors.

example:
  python tools/anchors.py my/annotations/instances_train.json --count 9 --size 416"""


def anchors_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, cluster, print."""
    program = "python tools/anchors.py"
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(program, description=DESCRIPTION, formatter_class=formatter)
    parser.add_argument("annotations", help="COCO annotation file")
    parser.add_argument("--count", type=int, default=9, help="number of anchors; default: 9")
    parser.add_argument("--size", type=int, default=416, help="side of the network's input in pixels; default: 416")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial anchors; default: 0")
    options = parser.parse_args(argv)
    if options.count < 1 or options.size < 1:
        raise InputError(f"--count and --size must be at least 1, got {options.count} and {options.size}")
    sizes = letterboxed_sizes(options.annotations, options.size)
    anchors = kmeans_anchors(sizes, options.count, options.seed)
    print("anchors:", [[round(number, 1) for number in anchor] for anchor in anchors.tolist()])
    print(f"mean IoU: {shape_iou(sizes, anchors).amax(dim=1).mean():.4f} of {len(sizes)} boxes")


def letterboxed_sizes(annotations: str, size: int) -> Tensor:
    """Width and height ``(N, 2)`` of all objects, crowds left out, with their images fitted into `size` pixels.

    Raises:
        InputError: the file is no COCO annotation file, has no objects, or does not state the sizes of its images.
    """
    return network_shapes(read_coco_boxes(Path(annotations)), Letterbox((size, size)))
