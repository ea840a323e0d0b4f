"""``tools/fit_svms.py``: the last step of training R-CNN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track
from torch import Tensor

from detkit.data import DataModule
from detkit.data.image_dataset import ImageDataset
from detkit.engine.checkpoint import save_model
from detkit.engine.config.command_line import read_named_checkpoint
from detkit.engine.config.parser import ParsedCommand, command_parser
from detkit.engine.svm import fit_svms
from detkit.errors import InputError
from detkit.models import RCNN
from detkit.structures import Target

DESCRIPTION = """Fit the linear SVMs and box regressors of a trained R-CNN.

Reads the training split that the checkpoint was trained with, or that of another folder with the same classes, and
writes a checkpoint that scores by SVMs.

examples:
  python tools/fit_svms.py --checkpoint runs/rcnn_shapes
  python tools/fit_svms.py --checkpoint runs/rcnn_shapes/best.ckpt --out svm.ckpt --data.root my/folder"""


@dataclass(frozen=True)
class Options:
    """The arguments of the command."""

    out: str | None
    device: str
    trust: list[str]


def fit_svms_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, fit, and write the checkpoint."""
    parser = command_parser("", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION, "python tools/fit_svms.py")
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint of an R-CNN, or a run's folder")
    parser.add_argument("--out", type=str | None, help="the checkpoint to write; default: svm.ckpt next to it")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="a package whose classes a checkpoint may name"
    )
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    checkpoint = read_named_checkpoint(parser, argv)
    parsed = ParsedCommand.of(parser, argv)
    options = parsed.options(Options)
    if checkpoint is None:
        raise InputError("Give --checkpoint; see --help.")
    model = checkpoint.model(options.device, options.trust)
    if not isinstance(model, RCNN):
        raise InputError(f"fit_svms needs an R-CNN, but {checkpoint.path} holds a {type(model).__name__}.")
    dataset = checkpoint.dataset(parsed.build()["data"], model, "train")
    fit_svms(model, lambda: _samples(dataset))
    out = Path(options.out) if options.out else checkpoint.path.with_name("svm.ckpt")
    save_model(model, checkpoint.record["model"], out, checkpoint.recipe)
    print(out)


def _samples(dataset: ImageDataset) -> Iterator[tuple[Tensor, Target]]:
    for index in track(range(len(dataset)), "images"):
        yield dataset[index]
