import re
from pathlib import Path

import numpy as np
import pytest
import torch

from detkit.data import DataModule, ShapesOptions, draw_shapes
from detkit.errors import InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    options = ShapesOptions(counts={"train": 4, "val": 5, "test": 4}, image_size=(24, 32))
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


class Noise:
    """Adds noise.

    Args:
        strength: standard deviation.
    """

    def __init__(self, strength: float = 20.0) -> None:
        self.strength = strength

    def __call__(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return np.clip(image + random.normal(0, self.strength, image.shape), 0, 255).astype(np.uint8)


def evaluated(root, **options) -> list:
    data = DataModule(root, eval_batch_size=2, **{"num_workers": 0, "eval_transform": Noise(), **options})
    return [pair for images, targets in data.val_dataloader() for pair in zip(images, targets, strict=True)]


def test_pixels_change_and_annotations_do_not(root):
    for (image, target), (plain, truth) in zip(evaluated(root), evaluated(root, eval_transform=None), strict=True):
        assert (image.dtype, image.shape) == (torch.uint8, plain.shape)
        assert not torch.equal(image, plain)
        assert torch.equal(target.boxes, truth.boxes)
        assert target.image_id == truth.image_id


def test_an_image_depends_on_seed_and_index_alone(root):
    first = evaluated(root)
    for options, same in (({"num_workers": 2}, True), ({"eval_batch_size": 3}, True), ({"seed": 1}, False)):
        options = {"eval_batch_size": 2} | options
        data = DataModule(root, **{"num_workers": 0, "eval_transform": Noise(), **options})
        images = [image for images, _ in data.val_dataloader() for image in images]
        assert all(torch.equal(a, b) for (a, _), b in zip(first, images, strict=True)) is same


def test_training_images_do_not_pass_through_it(root):
    plain = [image for images, _ in DataModule(root, num_workers=0).train_dataloader() for image in images]
    data = DataModule(root, num_workers=0, eval_transform=Noise())
    assert all(
        torch.equal(a, b) for a, b in zip(plain, [i for x, _ in data.train_dataloader() for i in x], strict=True)
    )


def test_the_fog_of_the_docs(root):
    page = (Path(__file__).resolve().parents[3] / "docs" / "augmentation.md").read_text()
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def fog" in text]
    names = {"np": np}
    exec(block, names)
    assert len(evaluated(root, eval_transform=names["fog"])) == 5


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda image, _: image[:-1], r"\(31, 24, 3\) uint8"),
        (lambda image, _: image / 2, "float64"),
        (lambda *_: None, "NoneType"),
    ],
)
def test_what_is_no_such_image(root, transform, got):
    with pytest.raises(InputError, match=rf"data.eval_transform must give an array \(32, 24, 3\) uint8 .*got .*{got}"):
        evaluated(root, eval_transform=transform)
