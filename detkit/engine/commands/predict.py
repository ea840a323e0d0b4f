"""``detkit predict``: annotated copies of images and videos, and one file of results."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from detkit.deprecation import moved_names
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.shorthand.short_options import short_help, with_full_options

__getattr__ = moved_names(
    __name__,
    {
        "Output": "detkit.engine.commands.prediction.prediction_files.Output",
        "Picture": "detkit.engine.commands.prediction.prediction_files.Frame",
        "PredictionOptions": "detkit.engine.commands.prediction.predicting.PredictionOptions",
        "WRITTEN": "detkit.engine.commands.prediction.prediction_files.WRITTEN",
        "named_device": "detkit.engine.commands.prediction.devices.named_device",
    },
)

DESCRIPTION = """Run a checkpoint on images, folders, glob patterns and videos.

Writes an annotated copy of each input. Results go to detections.json, in COCO's results format with file names, by
which "detkit eval --detections" joins them with annotations. A classifier writes classes.json, a segmentation model
label_maps.json and a label map for each image. A Mesh R-CNN also writes the meshes of each image as a .glb file, and a
turntable of them. An input that cannot be read is reported and skipped, and the exit status is 2.

examples:
  detkit predict --checkpoint runs/faster_rcnn_shapes/best.ckpt street.jpg --out predictions
  detkit predict --checkpoint runs/faster_rcnn_shapes/best.ckpt photos/ 'more/*.png' walk.mp4 --out predictions"""


def predict_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and predict."""
    parser = command_parser(
        "predict", "--checkpoint CHECKPOINT --out OUT INPUT ... [--KEY VALUE ...]", DESCRIPTION + short_help("predict")
    )
    add_arguments(parser)
    parsed = ParsedCommand.of(parser, with_full_options("predict", argv))
    # Imported after parsing, so that help and errors of the command line need no torch.
    from detkit.engine.commands.prediction.predicting import PredictionOptions, predict

    predict(parsed.options(PredictionOptions))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, videos, folders, glob patterns, http(s) addresses")
    parser.add_argument("--checkpoint", type=str, required=True, help="checkpoint file or run folder")
    parser.add_argument("--out", type=str, required=True, help="output folder")
    parser.add_argument(
        "--score_threshold",
        type=float | None,
        help="minimum score of results; default: 0.5, for a classifier 0",
    )
    parser.add_argument("--batch_size", type=int, default=8, help="images per forward pass")
    parser.add_argument(
        "--given", type=str | None, help="JSON file with more inputs for each image, such as cameras or proposals"
    )
    parser.add_argument(
        "--focal_length",
        type=float | None,
        help="focal length of all images in pixels, for a model that asks for their cameras; the center is the image's",
    )
    parser.add_argument(
        "--files",
        type=str,
        nargs="*",
        help="endings of further files for each image, such as labels.png of a segmentation model; none: no such file",
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="package whose classes a checkpoint may build"
    )
