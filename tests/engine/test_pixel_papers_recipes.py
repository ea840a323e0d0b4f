"""The recipes of the papers of label maps are built as they are, on data of their layouts."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from drawn_nuclei import draw_nuclei
from written_maps import blocks, write_image, write_map

from detkit.engine.commands.anchors.recipe_model import without_weights
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import Recipe, build_recipe
from detkit.engine.optim import parameter_groups
from detkit.files import read_yaml
from detkit.recipes import recipe_path

SIZE = (40, 60)


def _voc(root: Path) -> Path:
    for stem in ("2007_1", "2007_2"):
        write_image(root / f"JPEGImages/{stem}.jpg", SIZE)
        write_map(root / f"SegmentationClassAug/{stem}.png", blocks([0, 1, 15, 255], size=SIZE))
        write_map(root / f"SegmentationClass/{stem}.png", blocks([0, 1, 15, 255], size=SIZE))
    sets = root / "ImageSets/Segmentation"
    sets.mkdir(parents=True)
    for split in ("trainaug", "val"):
        (sets / f"{split}.txt").write_text("2007_1\n2007_2\n")
    return root


def _camvid(root: Path) -> Path:
    for split in ("train", "val"):
        for number in range(2):
            write_image(root / f"{split}/{number}.png", SIZE)
            write_map(root / f"{split}annot/{number}.png", blocks([*range(12)], size=SIZE))
    return root


ROOTS = {
    "fcn8s_voc": _voc, "unet_isbi": draw_nuclei, "segnet_camvid": _camvid, "deeplabv3_plus_resnet50_voc": _voc,
}  # fmt: skip
CLASSES = {"fcn8s_voc": 21, "unet_isbi": 2, "segnet_camvid": 11, "deeplabv3_plus_resnet50_voc": 21}


@pytest.fixture
def build(tmp_path):
    """Builds a recipe on the meta device, without the published weights that would be downloaded."""

    def built(name: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(without_weights(read_yaml(recipe_path(name)))))
        options = f"--data.root={ROOTS[name](tmp_path / 'data')}", "--data.num_workers=0"
        with torch.device("meta"):
            return build_recipe(training_arguments(["--config", str(path), *options]))

    return built


@pytest.mark.parametrize("name", ROOTS)
def test_a_papers_recipe_can_be_built(name, build):
    recipe = build(name)
    assert recipe.model.num_classes == CLASSES[name]
    side = 572 if "unet" in name else 224
    logits = recipe.model.raw(torch.empty(2, 3, side, side, device="meta")).logits
    assert logits.is_meta
    assert logits.shape[1] == CLASSES[name]


@pytest.mark.parametrize("name", ROOTS)
def test_its_data_is_read_and_varied(name, build):
    recipe = build(name)
    images, targets = next(iter(recipe.data.train_dataloader()))
    for image, target in zip(images, targets, strict=True):
        assert target.label_map.shape == image.shape[1:]
        labels = set(target.label_map.unique().tolist()) - {255}
        assert labels
        assert max(labels) < CLASSES[name]
    if "deeplab" in name:
        assert {tuple(image.shape) for image in images} == {(3, 513, 513)}
    if "unet" in name:
        assert all(target.pixel_weights.max() > 5 for target in targets)


def test_fcn_trains_biases_at_twice_the_rate(build):
    recipe = build("fcn8s_voc")
    groups = parameter_groups(recipe.model, True, recipe.optimization.lr_factors)
    doubled = [one for group in groups if group.get("lr_factor") == 2 for one in group["params"]]
    names = {id(parameter): name for name, parameter in recipe.model.named_parameters()}
    trained = {name for name, parameter in recipe.model.named_parameters() if parameter.requires_grad}
    assert {names[id(one)] for one in doubled} == {name for name in trained if name.endswith("bias")}
    assert recipe.data.batch_size * recipe.trainer["accumulate_grad_batches"] == 20


def test_unet_sees_tiles_of_the_paper(build):
    """A crop of 388 pixels with the border that mirrors it is a tile of 572, and answers for itself."""
    recipe = build("unet_isbi")
    assert recipe.data.augmentation.size == (388, 388)
    assert recipe.model.preprocess.place((388, 388)).size == (572, 572)
    assert recipe.model.inference.stride == (388, 388)
    assert recipe.data.categories[0].name == "membrane"


def test_deeplab_runs_at_stride_16_for_30000_steps(build):
    recipe = build("deeplabv3_plus_resnet50_voc")
    assert max(recipe.model.backbone.strides) == 16
    steps = recipe.trainer["max_epochs"] * 10582 // recipe.data.batch_size
    assert abs(steps - 30000) < 500
    rates = [recipe.optimization.schedule.factor(step, 0, 30000, 661) for step in (0, 15000, 30000)]
    assert rates == pytest.approx([1, 0.5**0.9, 0])


def test_segnet_balances_classes_by_their_median_frequency(build):
    """A weight is the median frequency by that of the class: rare classes of CamVid weigh more than roads and skies."""
    recipe = build("segnet_camvid")
    names = [one.name for one in recipe.data.categories]
    weights = dict(zip(names, recipe.model.head.criteria["semantic"].class_weights, strict=True))
    assert min(weights, key=weights.get) == "road"
    assert max(weights, key=weights.get) == "sign"
    assert np.median(list(weights.values())) == pytest.approx(0.9051)
