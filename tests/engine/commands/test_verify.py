"""``detkit verify``: its exit status, its JSON file, and what it refuses."""

import hashlib
import json

import pytest
import torch

import detkit
from detkit.backbones import TimmBackbone
from detkit.data.formats.open_dataset import open_split
from detkit.exporting.export_file import export_file
from detkit.models import Classifier
from detkit.preprocess import Square

DATA = ("--data.num_workers=0", "--data.image_class=largest", "--bootstrap=20")


@pytest.fixture(scope="module")
def folder(shapes_root, tmp_path_factory):
    """The folder of a checkpoint of a classifier and its TorchScript file."""
    folder = tmp_path_factory.mktemp("verify")
    torch.manual_seed(0)
    categories = open_split(shapes_root, "val").categories
    model = Classifier(TimmBackbone("test_resnet", stages=[4]), len(categories), preprocess=Square(48)).eval()
    model.categories = categories
    model.save(folder / "best.ckpt")
    export_file(model, folder / "best.ts")
    return folder


def test_a_true_file_is_certified(folder, shapes_root, tmp_path, detkit_command):
    out, data = tmp_path / "certificate.json", (f"--data.root={shapes_root}", *DATA)
    checkpoint = folder / "best.ckpt"
    status, said = detkit_command("verify", folder / "best.ts", "--checkpoint", checkpoint, "--out", out, *data)
    assert status == 0, said
    content = json.loads(out.read_text())
    assert content["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    (entry,) = content["files"]
    assert entry["certified"]
    assert (entry["answers"]["images"], entry["answers"]["mismatches"]) == (5, 0)


def test_a_file_of_another_checkpoint_is_not(folder, shapes_root, tmp_path, detkit_command):
    torch.manual_seed(1)
    other = detkit.load(folder / "best.ckpt", device="cpu")
    torch.nn.init.normal_(other.head.classes.weight)
    other.save(tmp_path / "other.ckpt")
    argv = (folder / "best.ts", "--checkpoint", tmp_path / "other.ckpt", f"--data.root={shapes_root}", *DATA)
    with pytest.raises(SystemExit, match="1"):
        detkit_command("verify", *argv, "--images=2")


def test_from_python(folder, shapes_root):
    settings = {"bootstrap": 20, "data.num_workers": 0, "data.image_class": "largest"}
    (certificate,) = detkit.verify(folder / "best.ts", folder / "best.ckpt", shapes_root, images=2, **settings)
    assert certificate.is_certified
    assert certificate.images == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--images=0",), "images"),
        (("--allow=-1",), "allow"),
        (("--bootstrap=1",), "samples must be at least 2"),
        (("--checkpoint=no.ckpt",), "no.ckpt does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(folder, shapes_root, argv, words, detkit_command):
    named = () if argv[0].startswith("--checkpoint") else ("--checkpoint", folder / "best.ckpt")
    status, said = detkit_command("verify", folder / "best.ts", *named, f"--data.root={shapes_root}", *DATA, *argv)
    assert status == 2
    assert words in said
    assert len(said.strip().splitlines()) == 1
