"""``detkit visualize``: what a network responds to in an image."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from detkit.deprecation import moved_names
from detkit.engine.config.parser import ParsedCommand, command_parser

__getattr__ = moved_names(
    __name__, {"VisualizationOptions": "detkit.engine.commands.explanation.explaining.VisualizationOptions"}
)

DESCRIPTION = """Show what a network responds to in an image: Grad-CAM, occlusion sensitivity and its strongest filters.

Writes one image file with the prediction, its Grad-CAM, the score with a gray square at each position, and the
strongest filters of each stage, projected back to the pixels by a deconvolution network. With several images, the first
one is explained, and each filter is shown with the images that activate it most.

examples:
  detkit visualize --checkpoint runs/faster_rcnn_shapes/best.ckpt street.jpg --out views.jpg
  detkit visualize --backbone squeezenet1_1 --weights squeezenet1_1.pth dog.jpg --category 'golden retriever'"""


def visualize_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and write the drawing."""
    usage = "--checkpoint CHECKPOINT | --backbone NAME [--weights FILE] IMAGE ... [--KEY VALUE ...]"
    parser = command_parser("visualize", usage, DESCRIPTION)
    add_arguments(parser)
    parsed = ParsedCommand.of(parser, argv)
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.explanation.explaining import VisualizationOptions, visualize

    visualize(parsed.options(VisualizationOptions))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, folders, glob patterns")
    parser.add_argument("--checkpoint", type=str | None, help="checkpoint file or run folder")
    parser.add_argument(
        "--backbone",
        type=str | None,
        help="classification network of torchvision, timm or detkit, instead of --checkpoint",
    )
    parser.add_argument(
        "--weights", type=str | None, help="weights for --backbone: a file, or DEFAULT for published ones"
    )
    parser.add_argument("--out", type=str, default="views.png", help="image file to write")
    parser.add_argument("--category", type=str | None, help="class to explain; default: the highest-scoring one")
    parser.add_argument("--layers", type=list[str] | None, help="layers to show; default: the last one of each stage")
    parser.add_argument(
        "--filters", type=list[int] | None, help="filters to show of each layer; default: the strongest"
    )
    parser.add_argument("--count", type=int, default=8, help="maximum number of filters per layer")
    parser.add_argument("--top", type=int, default=9, help="maximum number of images per filter")
    parser.add_argument(
        "--square", type=int | None, help="side of the gray square in pixels; default: a fifth of the image"
    )
    parser.add_argument("--step", type=int | None, help="stride of the square in pixels; default: half of its side")
    parser.add_argument("--batch_size", type=int, default=16, help="images per forward pass")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
