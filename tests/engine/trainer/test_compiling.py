"""``compile: true``: the same training, and checkpoints of the same names."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recipes import FASTER_RCNN
from torch import nn

import detkit
from detkit.engine.checkpoint import build_model, read_checkpoint
from detkit.engine.trainer.compiling import compile_parts
from detkit.structures import Target

RETINANET = {
    "class_path": "RetinaNet",
    "init_args": {
        "backbone": {"class_path": "TimmBackbone", "init_args": {"name": "test_resnet", "stages": [2, 3, 4]}},
        "neck": {"class_path": "FPN", "init_args": {"out_channels": 8, "extra_levels": None}},
        "head": {
            "class_path": "RetinaNetHead",
            "init_args": {"convolutions": 1, "group_norm": True, "anchor_sizes": [[16], [32], [64]]},
        },
        "preprocess": {"class_path": "ShortestEdge", "init_args": {"min_size": 64, "max_size": 96}},
    },
}


@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request, monkeypatch) -> str:
    """Compiles by inductor, torch's default, or only traces graphs."""
    usual = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: usual(call, dynamic=dynamic, backend=request.param))
    torch._dynamo.reset()
    return request.param


def built(config: dict) -> nn.Module:
    torch.manual_seed(0)
    arguments = {**config["init_args"], "num_classes": 3}
    return build_model({**config, "init_args": arguments}, (), "the test")


def test_each_part_has_graphs_of_its_own(monkeypatch):
    """torch keeps eight graphs of one piece of code, and runs the ninth uncompiled."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    usual = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: usual(call, dynamic=dynamic, backend=backend))
    torch._dynamo.reset()
    model = nn.ModuleDict({f"part{k}": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()) for k in range(5)})
    assert compile_parts(model) == list(model)
    for _ in range(2):
        for training in (True, False):
            with torch.set_grad_enabled(training):
                maps = torch.ones(2, 1, 4, 4)
                for part in model.train(training).values():
                    maps = part(maps)
        assert len(graphs) == 10


@pytest.mark.slow
def test_what_is_compiled():
    assert compile_parts(built(RETINANET)) == ["backbone", "neck", "head.class_tower", "head.box_tower"]
    assert compile_parts(built(FASTER_RCNN)) == ["backbone", "neck"]


@pytest.mark.slow  # by traced graphs alone: inductor takes minutes for each of these
@pytest.mark.parametrize("backend", ["eager"], indirect=True)
@pytest.mark.parametrize("config", [RETINANET, FASTER_RCNN], ids=lambda config: config["class_path"])
def test_losses_gradients_and_detections_are_the_same(config, backend):
    plain, compiled = built(config), built(config)
    compile_parts(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    generator = torch.Generator().manual_seed(0)
    for size in ((64, 64), (64, 90), (80, 64)):
        images = [torch.rand(3, *size, generator=generator) for _ in range(2)]
        targets = [Target(torch.tensor([[5.0, 8, 40, 44]]), torch.tensor([1])) for _ in images]
        results = []
        for model in (plain, compiled):
            model.zero_grad()
            losses = model.train()(images, targets, generator=torch.Generator().manual_seed(1))
            sum(losses.values()).backward()
            results.append((losses, [parameter.grad for parameter in model.parameters()], model.predict(images)))
        (losses, gradients, detections), (theirs, their_gradients, their_detections) = results
        torch.testing.assert_close(losses, theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, their_gradients, rtol=1e-3, atol=1e-4)
        for one, other in zip(detections, their_detections, strict=True):
            torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
            torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-4)


def train_losses(folder: Path) -> list[float]:
    with open(folder / "metrics.csv", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_compiled_run_equals_another_and_goes_on(recipe, detkit_command, shapes_root, backend):
    path = recipe(ema=0.9)
    for name in ("plain", "compiled"):
        option = ["--compile=true"] if name == "compiled" else []
        status, said = detkit_command("train", "--config", path, "--name", name, "--trainer.max_epochs=1", *option)
        assert status == 0, said
    assert train_losses(Path("runs/compiled")) == pytest.approx(train_losses(Path("runs/plain")), rel=1e-4)
    saved = read_checkpoint("runs/compiled/last.ckpt")
    for part in ("state_dict", "ema"):
        assert saved[part].keys() == read_checkpoint("runs/plain/last.ckpt")[part].keys()
    for option in ([], ["--compile=false"]):
        epochs = len(train_losses(Path("runs/compiled"))) // 6 + 1
        status, said = detkit_command("train", "--resume", "runs/compiled", f"--trainer.max_epochs={epochs}", *option)
        assert status == 0, said
        assert len(train_losses(Path("runs/compiled"))) == 6 * epochs
    image = torch.zeros(3, 48, 64, dtype=torch.uint8)
    assert len(detkit.load("runs/compiled", trust=["tiny_detector"]).predict([image])) == 1
