"""``tools/fit_svms.py``: the last step of training R-CNN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jsonargparse import Namespace
from rich.progress import track
from torch import Tensor

from detkit.data import CocoDataset, DataModule
from detkit.engine.building import build
from detkit.engine.checkpoint import check_categories, checkpoint_path, load, read_checkpoint, save_model
from detkit.engine.commands.evaluate import default_to_training_data
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.svm import fit_svms
from detkit.structures import Target

DESCRIPTION = """Fit the linear SVMs and box regressors of a trained R-CNN.

Reads the training split that the checkpoint was trained with, or that of another folder with the same classes, and
writes a checkpoint that scores by SVMs.

examples:
  tools/fit_svms.py --checkpoint runs/rcnn_shapes
  tools/fit_svms.py --checkpoint runs/rcnn_shapes/best.ckpt --out svm.ckpt --data.root my/folder"""


def fit_svms_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv`, fit, and write the checkpoint."""
    parser = command_parser("fit_svms", "--checkpoint CHECKPOINT [--KEY VALUE ...]", DESCRIPTION)
    parser.add_argument("--checkpoint", type=str, required=True, help="a checkpoint of an R-CNN, or a run's folder")
    parser.add_argument("--out", type=str | None, help="the checkpoint to write; default: svm.ckpt beside the other")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--trust", type=str, action="append", default=[], help="a package whose classes a checkpoint may name"
    )
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    default_to_training_data(parser, argv)
    config: Namespace = parse(parser, argv)
    path = checkpoint_path(config.checkpoint)
    model = load(path, config.device, config.trust)
    dataset = build(parser, config).data.train_dataset
    check_categories(model.categories, dataset.categories, path, str(dataset.annotations_path))
    fit_svms(model, lambda: _samples(dataset))
    out = Path(config.out) if config.out else path.with_name("svm.ckpt")
    content = read_checkpoint(path)["detkit"]
    save_model(model, content["model"], out, content["config"])
    print(out)


def _samples(dataset: CocoDataset) -> Iterator[tuple[Tensor, Target]]:
    for index in track(range(len(dataset)), "images"):
        yield dataset[index]
