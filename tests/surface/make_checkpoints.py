"""Made `checkpoints_0e2a452/` and what its models answer, with the code of commit 0e2a452.

    python tests/surface/make_checkpoints.py [FAMILY ...]

Each model learns the two images a while, so that its scores are spread out. Weights are rounded to bfloat16, which
halves the files. A family whose answers hang on the last digits of its weights is refused.
"""

from __future__ import annotations

import argparse
import copy
import json
import lzma
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from answers import assert_same, plain
from detkit.engine.command import command_parser, parse
from detkit.engine.training import _record, add_arguments
from detkit.weights.darknet_models import DarknetDetector
from families import CLASSES, MODELS, RUNS
from sample_images import images, targets
from torch import Tensor

from detkit.engine.checkpoint import build_model, model_record, write_checkpoint
from detkit.heads import SVMBoxHead
from detkit.models import Classifier, Detector, Localizer
from detkit.structures import Category, Target

FOLDER = Path(__file__).parent / "checkpoints_0e2a452"
ANSWERS = Path(__file__).parent / "answers_0e2a452.json"
CATEGORIES = [Category(id=3 * label + 1, name=name) for label, name in enumerate(("red", "green", "blue"))]

STEPS = (10, 20, 32, 48, 60, 80, 110)  # of training, until the answers are good to compare
LEAST_STEPS = dict.fromkeys(("faster_rcnn", "faster_rcnn_c4", "mask_rcnn", "cascade_rcnn"), 48)
LEAST_STEPS |= {"keypoint_rcnn": 60, "rcnn": 32}
RATES = {"faster_rcnn_c4": 2e-3, "classifier": 1e-3, "ssd": 2e-3, "ssdlite": 3e-3, "yolo_v4": 4e-3}
SHARES = {"faster_rcnn_c4": 0.004}  # of large layers' weights that are not zero


def make(family: str, steps: int) -> list[dict[str, Any]]:
    """Write the checkpoint of one family, trained for so many steps; returns what it answers.

    Raises:
        AssertionError: the answers are not good to compare.
    """
    config = copy.deepcopy(MODELS[family])
    record = described(family, config)
    torch.manual_seed(steps)
    model = build_model(record["model"], (), family)
    if isinstance(model, DarknetDetector):
        scatter(model)
    else:
        learn(family, model, steps)
    if isinstance(getattr(model, "box_head", None), SVMBoxHead):
        score_by_margins(model.box_head)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.bfloat16())
    if not isinstance(model, (Classifier, Localizer)):
        where = config["init_args"]
        if not isinstance(model, DarknetDetector):
            where = where["head" if "head" in where else "box_head"]["init_args"]
        where["score_threshold"] = separating(model)
        record = described(family, config)
    state = model.state_dict()
    model = build_model(record["model"], (), family)
    model.load_state_dict(state)
    answers = [plain(answer) for answer in model.predict(images())]
    check_stable(model, answers)

    weights = {f"model.{name}": value for name, value in state.items()}
    content = {"detkit": record, "state_dict": weights}
    if record["config"].get("ema"):
        # What inference takes is the average; the others are what a run had last.
        content |= {"ema": weights, "state_dict": {name: torch.zeros_like(value) for name, value in weights.items()}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        write_checkpoint(content, path)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{family}.ckpt.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
    return answers


def described(family: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint says of its model and its run."""
    if family not in RUNS:
        config = copy.deepcopy(config)
        config["init_args"] |= {} if family == "darknet" else {"num_classes": CLASSES}
        return model_record(config, CATEGORIES)
    parser = command_parser("train", "", "")
    add_arguments(parser)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{family}.yaml"
        path.write_text(yaml.safe_dump({"model": config} | RUNS[family]))
        parsed = parse(parser, ["--config", str(path)])
    return _record(parser, parsed, SimpleNamespace(num_classes=CLASSES, categories=CATEGORIES))


def learn(family: str, model: Detector, steps: int) -> None:
    """Train on the two images, mirrored and not."""
    model.train()
    batch = [*images(), *(image.flip(2) for image in images())]
    expected = [
        *targets(),
        *(mirrored(target, image) for target, image in zip(targets(), images(), strict=True)),
    ]
    if not model.learns_from & {"masks", "keypoints", "image_label"}:
        expected = [Target(target.boxes, target.labels) for target in expected]
    masks = {
        parameter: (torch.rand_like(parameter) < SHARES[family]).float()
        for parameter in model.parameters()
        if family in SHARES and parameter.numel() > 10_000
    }
    for parameter, mask in masks.items():
        parameter.data.mul_(mask / SHARES[family] ** 0.5)
    optimizer = torch.optim.Adam(model.parameters(), RATES.get(family, 1e-2))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum(model(batch, expected).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        for parameter, mask in masks.items():
            parameter.data.mul_(mask).add_(0.0)  # which makes 0 of -0, for the sake of the file's size
    with torch.no_grad():
        for _ in range(30):  # batch norm's statistics of the weights that are kept
            model(batch, expected)
    model.eval()


def mirrored(target: Target, image: Tensor) -> Target:
    """`target` of the mirrored `image`; its two keypoints stay the ones they are."""
    width = image.shape[2]
    boxes = target.boxes.clone()
    boxes[:, [0, 2]] = width - target.boxes[:, [2, 0]]
    keypoints = target.keypoints.clone()
    keypoints[..., 0] = width - keypoints[..., 0]
    return Target(boxes, target.labels, target.masks.flip(2), keypoints, image_label=target.image_label)


def scatter(model: DarknetDetector) -> None:
    """Weights of a network that cannot be trained: random ones, whose scores are far apart."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim == 4 else 0.5)
    for layer in model.network.layers:
        for name, value in layer.state_dict().items():
            if "var" in name:
                value.fill_(1.0)
    model.eval()


def score_by_margins(head: SVMBoxHead) -> None:
    """Let the head score as after `detkit.engine.svm.fit_svms`, by margins: how far each class beats background."""
    for value in (head.classes.weight.data, head.classes.bias.data):
        value.copy_(value - value[-1:].clone())
    head.fitted.fill_(True)


def separating(model: Detector) -> float:
    """A score threshold in the widest gap between scores that leaves 6 to 14 detections in all."""
    scores = torch.cat([answer.scores for answer in model.predict(images())]).sort(descending=True).values
    assert len(scores) > 6, "little is found"
    least, most = 6, min(14, len(scores) - 1)
    gaps = scores[least - 1 : most] - scores[least : most + 1]
    assert gaps.max() > 4e-4, "no threshold is apart from the scores"
    at = least - 1 + int(gaps.argmax())
    return round(float((scores[at] + scores[at + 1]) / 2), 5)


def check_stable(model: Detector, answers: list[dict[str, Any]]) -> None:
    """Enough is found, scores are apart, and weights that differ a little give the same."""
    assert all(len(answer["scores"]) > 1 for answer in answers), "nothing is found"
    assert sum(len(answer["scores"]) for answer in answers) > 3, "little is found"
    for answer in answers:
        scores = torch.tensor(answer["scores"], dtype=torch.float64)
        assert scores.max() < 0.999, "scores are at their end"
        assert not (scores.diff().abs() < 1e-4).any(), "scores are too close"
    for seed in range(3):
        torch.manual_seed(seed)
        other = copy.deepcopy(model)
        for value in other.state_dict().values():
            if value.is_floating_point():
                value.mul_(1 + 2e-7 * torch.randn_like(value))
        for detections, expected in zip(other.predict(images()), answers, strict=True):
            assert_same(plain(detections), expected)


def main() -> None:
    """Make the families that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*MODELS, []], help="default: all")
    families = parser.parse_args().families or list(MODELS)
    known = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    for family in families:
        for steps in STEPS:
            if steps < LEAST_STEPS.get(family, 0):
                continue
            try:
                known[family] = make(family, steps)
            except AssertionError as error:
                print(f"{family}: {steps} steps: {str(error).strip().splitlines()[0]}")
            else:
                print(family, steps, [(answer["labels"], answer["scores"]) for answer in known[family]])
                break
        else:
            raise SystemExit(f"{family}: no model was good to compare")
    lines = [f" {json.dumps(family)}: {json.dumps(answer)}" for family, answer in sorted(known.items())]
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
