"""Each small recipe, from its file, trains, validates, resumes and predicts in each precision but float32, with which
the losses are compared. test_recipes.py and test_on_imitated_device.py run all of them in float32.

Autocast and a gradient scaler in float16 run on the CPU too; there Lightning takes them from a plugin only.
"""

import csv
import json
import math
from pathlib import Path

import pytest
from recipes import large_shapes

from detkit.data import draw_shapes
from detkit.engine.checkpoint import read_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*_shapes.yaml"))
IMAGE_RECIPES = ("classification_shapes", "localization_shapes")
PRECISIONS = {
    "bf16-mixed": "--trainer.precision=bf16-mixed",
    "16-mixed": "--trainer.plugins="
    + json.dumps(
        [
            {
                "class_path": "lightning.pytorch.plugins.MixedPrecision",
                "init_args": {"precision": "16-mixed", "device": "cpu"},
            }
        ]
    ),
}
NEAR = {"bf16-mixed": 0.02, "16-mixed": 0.005}

# The others are slow: convolutions of a CPU in float16 above all.
ALWAYS = {("keypoint_rcnn_shapes", "bf16-mixed"), ("localization_shapes", "16-mixed")}


def cases() -> list:
    both = [(name, precision) for name in RECIPES for precision in PRECISIONS]
    return [pytest.param(*one, marks=() if one in ALWAYS else pytest.mark.slow) for one in both]


@pytest.fixture(scope="module")
def few_images(tmp_path_factory) -> Path:
    options = large_shapes({"train": 8, "val": 2}, (64, 80), stuff=("grass", "water"))
    return draw_shapes(tmp_path_factory.mktemp("few") / "shapes", options)


@pytest.fixture
def train(few_images, tmp_path, monkeypatch, detkit_command):
    """Trains two steps of a recipe, with further options; gives its rows of metrics."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *options: str, run_name: str = "run") -> list[dict[str, str]]:
        small = {
            "name": run_name,
            "data.root": few_images,
            "data.batch_size": 2,
            "data.num_workers": 0,
            "pictures": 0,
            "trainer.accelerator": "cpu",
            "trainer.max_steps": 2,
            "trainer.log_every_n_steps": 1,
            "trainer.num_sanity_val_steps": 0,
        }
        if name in IMAGE_RECIPES:
            small["data.image_class"] = "largest"
        arguments = [f"--{key}={value}" for key, value in small.items()]
        status, said = detkit_command("train", "--config", CONFIGS / f"{name}.yaml", *arguments, *options)
        assert status == 0, said
        return rows(run_name)

    return run


def rows(run_name: str) -> list[dict[str, str]]:
    with open(Path("runs") / run_name / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def losses(metrics: list[dict[str, str]]) -> list[float]:
    return [float(row["train/loss"]) for row in metrics if row["train/loss"]]


@pytest.fixture(scope="module")
def in_float32() -> dict[str, list[float]]:
    """The losses of the recipes that have been trained in float32."""
    return {}


@pytest.mark.parametrize(("name", "precision"), cases())
def test_a_recipe_runs(name, precision, train, in_float32, few_images, detkit_command):
    trained = losses(train(name, PRECISIONS[precision]))
    assert len(trained) == 2
    if name not in in_float32:
        in_float32[name] = losses(train(name, "--trainer.limit_val_batches=0", run_name="float32"))
    assert trained[0] == pytest.approx(in_float32[name][0], rel=NEAR[precision])
    # AdamW's first step is as long for the smallest gradients, which are rounding, as for others.
    assert trained[1] == pytest.approx(in_float32[name][1], rel=0.05)

    status, said = detkit_command("train", "--resume", "runs/run", "--trainer.max_steps", "3")
    assert status == 0, said
    resumed = rows("run")
    assert losses(resumed)[:2] == trained
    assert len(losses(resumed)) == 3
    assert math.isfinite(losses(resumed)[2])
    assert [row["step"] for row in resumed if any(row[key] for key in row if key.startswith("val/"))] == ["1", "2"]
    scale = read_checkpoint("runs/run/last.ckpt").get("MixedPrecision", {}).get("scale")
    assert (scale is not None) == (precision == "16-mixed")

    image = next((few_images / "images" / "val").iterdir())
    status, said = detkit_command("predict", "--checkpoint", "runs/run", image, "--out", "predictions")
    assert status == 0, said
    assert list(Path("predictions").glob("*.json"))
