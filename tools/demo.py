"""``make demo``: draw the Shapes, train a small Faster R-CNN on them, evaluate it and draw its predictions."""

import sys
from collections.abc import Sequence
from pathlib import Path

from detkit.engine.cli import evaluate, run, train

CONFIG = str(Path(__file__).parent.parent / "configs" / "faster_rcnn_shapes.yaml")
RUN = Path("runs/demo")
IMAGES = 6


def demo(argv: Sequence[str]) -> None:
    """Train into ``runs/demo`` with further arguments `argv`, then evaluate on the held-out test images."""
    train(["--config", CONFIG, "--name", RUN.name, "--overwrite", *argv])
    checkpoint = str(RUN / "best.ckpt")
    evaluate(["--checkpoint", checkpoint, "--split", "test", "--per_class", "--out", str(RUN / "metrics.json")])
    draw(checkpoint)
    print(f"\nground truth and predictions: {RUN}/predictions.png\nlosses and AP over the steps: {RUN}/curves.png")


def draw(checkpoint: str) -> None:
    """Write ``predictions.png`` and ``curves.png``."""
    import detkit
    from detkit.data import DataModule, ShapesOptions
    from detkit.engine.checkpoint import read_checkpoint
    from detkit.visualization import plot_curves, save_comparison

    model = detkit.load(checkpoint)
    drawn = read_checkpoint(checkpoint)["detkit"]["config"]["data"]["shapes"]
    dataset = DataModule(shapes=ShapesOptions(**drawn), eval_split="test").eval_dataset
    images, targets = zip(*(dataset[index] for index in range(min(IMAGES, len(dataset)))), strict=True)
    save_comparison(RUN / "predictions.png", images, targets, model.predict(list(images)), model.categories or [])
    plot_curves(RUN / "metrics.csv", RUN / "curves.png")


if __name__ == "__main__":
    sys.exit(run(demo))
