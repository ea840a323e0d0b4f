"""``detkit verify`` of label maps: a file answers in one pass for a padded batch, whatever the `inference` is."""

import json

import pytest
import torch

from detkit.backbones import DarknetTiny
from detkit.data import ShapesOptions, draw_shapes
from detkit.data.formats.open_dataset import open_split
from detkit.exporting.export_file import export_file
from detkit.heads import FCNHead
from detkit.models import SegmentationModel
from detkit.models.pixel.inference import SlidingWindow, Views, Whole


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images of several sizes."""
    options = ShapesOptions({"train": 1, "val": 5}, (32, 72), names=("disc", "box"), stuff=("sky",), noise=2)
    return draw_shapes(tmp_path_factory.mktemp("data") / "maps", options)


def make_model(root, inference=None):
    torch.manual_seed(0)
    model = SegmentationModel(DarknetTiny(width=0.25, stages=[2, 3]), 3, FCNHead, inference=inference).eval()
    model.categories = open_split(root, "val").categories
    return model


@pytest.fixture(scope="module")
def path(root, tmp_path_factory):
    """The file of the model."""
    path = tmp_path_factory.mktemp("exported") / "maps.pt2"
    export_file(make_model(root), path)
    return path


@pytest.mark.parametrize(
    ("inference", "said"),
    [
        (Whole(), None),
        (SlidingWindow((16, 16)), "the inference by SlidingWindow"),
        (Whole(Views(horizontal_flip=True)), "the inference by Views"),
    ],
    ids=["whole", "windows", "views"],
)
def test_a_file_is_certified_without_the_inference(path, root, tmp_path, detkit_command, inference, said):
    make_model(root, inference).save(tmp_path / "best.ckpt")
    data = (f"--data.root={root}", "--data.num_workers=0", "--data.eval_batch_size=5", "--bootstrap=5")
    status, errors = detkit_command(
        "verify", path, "--checkpoint", tmp_path / "best.ckpt", "--out", tmp_path / "certificate.json", *data
    )
    assert status == 0, errors
    (file,) = json.loads((tmp_path / "certificate.json").read_text())["files"]
    assert file["certified"]
    assert (file["answers"]["images"], file["answers"]["mismatches"]) == (5, 0)
    sentences = [one["sentence"] for one in file["findings"] if one["subject"] == "inference"]
    assert sentences == ([f"the file leaves out {said}: it and the checkpoint are compared without it"] if said else [])
