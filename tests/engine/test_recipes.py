"""Each small recipe, from its file, overfits eight images."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from image_files import noise, write_image
from recipes import large_shapes
from torch.utils._pytree import tree_leaves
from torchvision.models import resnet50
from torchvision.models._api import WeightsEnum

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.config.parser import command_parser, parse
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.engine.optim import Schedule

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT_EDGE = {"model.preprocess.min_size": 96}
LONGER = {"trainer.max_epochs": 130, "trainer.check_val_every_n_epoch": 130}
LONGEST = {"trainer.max_epochs": 220, "trainer.check_val_every_n_epoch": 220}
CANVAS = {"model.preprocess.init_args.size": [112, 112]}
RECIPES = [
    ("rcnn_shapes", "bbox", {"trainer.max_epochs": 50, "trainer.check_val_every_n_epoch": 50}),
    ("fast_rcnn_shapes", "bbox", SHORT_EDGE),
    ("faster_rcnn_shapes", "bbox", SHORT_EDGE | LONGER),
    ("faster_rcnn_c4_shapes", "bbox", SHORT_EDGE | LONGEST),
    ("cascade_rcnn_shapes", "bbox", SHORT_EDGE | LONGER | {"optimizer.init_args.lr": 4e-3}),
    ("mask_rcnn_shapes", "segm", SHORT_EDGE),
    ("keypoint_rcnn_shapes", "keypoints", SHORT_EDGE),
    ("overfeat_shapes", "bbox", SHORT_EDGE),
    ("retinanet_shapes", "bbox", SHORT_EDGE),
    ("fcos_shapes", "bbox", SHORT_EDGE),
    ("yolo_v1_shapes", "bbox", LONGEST | {"model.head.init_args.side": 7, "optimizer.init_args.lr": 5e-4}),
    ("yolo_v2_shapes", "bbox", CANVAS),
    ("yolo_v3_shapes", "bbox", CANVAS),
    ("yolo_v4_shapes", "bbox", CANVAS),
    ("ssd_shapes", "bbox", {"model.preprocess.init_args.size": 112}),
]

# Of whole images: what is judged, its least value, and how a short run learns it.
IMAGE_RECIPES = [
    ("classification_shapes", "top1", 1.0, {"optimizer.init_args.lr": 2e-3, "lr_batch_size": "null"}),
    ("localization_shapes", "top1_localization", 0.9, {"optimizer.init_args.lr": 2e-3}),
]
QUICK = "classification_shapes"


# Of label maps: how a short run learns them. The means of two images are no statistics to normalize by, and cells of
# stride 8 are as large as parts of the shapes in images of 48 pixels.
FOUR = {"data.batch_size": 4}
FINE = {"model.preprocess.init_args.min_size": 192}
LARGER = {
    "model.preprocess": json.dumps(
        {"class_path": "ShortestEdge", "init_args": {"min_size": 128, "max_size": 192, "divisor": 32}}
    )
}
# By SGD its narrow network needs thousands of steps.
ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 0.0}}
WIDER = {
    "model.backbone.init_args.width": 0.25,
    "data.batch_size": 8,
    "optimizer": json.dumps(ADAMW),
    "optimizer.init_args.lr": 3e-3,
    "trainer.max_epochs": 250,
    "trainer.check_val_every_n_epoch": 250,
}
PIXEL_RECIPES = [
    ("fcn8s_shapes", LONGER | LARGER | {"optimizer.init_args.lr": 4e-3}),
    ("segnet_shapes", WIDER),
    ("unet_shapes", LONGER | {"optimizer.init_args.lr": 3e-3}),
    ("deeplabv3_shapes", LONGER | FOUR | FINE),
    ("deeplabv3_plus_shapes", LONGEST | FOUR),
    ("lraspp_shapes", LONGEST | FOUR | FINE),
    ("semantic_fpn_shapes", LONGEST | FOUR),
]


@pytest.fixture(scope="module")
def eight_images(tmp_path_factory) -> Path:
    options = large_shapes({"train": 8}, (96, 112), crowd_probability=0.0)
    return draw_shapes(tmp_path_factory.mktemp("eight") / "shapes", options)


@pytest.fixture(scope="module")
def eight_label_maps(tmp_path_factory) -> Path:
    """Of few objects that are half as long as the image: coarse cells must be smaller than objects."""
    options = ShapesOptions(
        counts={"train": 8},
        image_size=(64, 64),
        seed=2,
        names=("disc", "triangle", "ring", "star"),
        max_objects=2,
        min_object_size=28,
        contrast=150,
        crowd_probability=0.0,
        stuff=("background",),
    )
    return draw_shapes(tmp_path_factory.mktemp("eight") / "shapes", options)


def short_run(root: Path, epochs: int) -> dict[str, object]:
    """Options that train on the images of `root` and judge by the same ones.

    Many small steps instead of few large ones, and no average over so short a time.
    """
    return {
        "data.root": root,
        "data.val_images": root / "images" / "train",
        "data.val_annotations": root / "annotations" / "instances_train.json",
        "data.augmentation": "null",
        "data.num_workers": 0,
        "data.batch_size": 2,
        "pictures": 0,
        "optimizer.init_args.lr": 2e-3,
        "schedule.init_args.warmup_steps": 10,
        "ema": "null",
        "trainer.max_epochs": epochs,
        "trainer.check_val_every_n_epoch": epochs,
        "trainer.accelerator": "cpu",
    }


@pytest.fixture
def learned(tmp_path, monkeypatch, detkit_command):
    """Trains a recipe with further options; gives the metrics of its last weights."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, options: dict[str, object], *evaluation: str) -> dict[str, dict[str, float]]:
        arguments = [f"--{key}={value}" for key, value in options.items()]
        status, said = detkit_command("train", "--config", CONFIGS / f"{name}.yaml", "--name", name, *arguments)
        assert status == 0, said
        checkpoint = tmp_path / "runs" / name / "last.ckpt"
        status, said = detkit_command("eval", "--checkpoint", checkpoint, "--out", "metrics.json", *evaluation)
        assert status == 0, said
        return json.loads(Path("metrics.json").read_text())

    return run


@pytest.mark.slow  # Faster R-CNN and a classifier learn in default tests too
@pytest.mark.parametrize(("name", "kind", "smaller"), RECIPES)
def test_a_recipe_overfits_eight_images(name, kind, smaller, eight_images, learned):
    sigmas = ["--keypoint_sigmas=[0.1, 0.1, 0.1, 0.1, 0.1]"] if kind == "keypoints" else []
    kinds = dict.fromkeys(("bbox", kind))
    metrics = learned(name, short_run(eight_images, 75) | smaller, "--iou_type", *kinds, *sigmas)
    assert metrics["bbox"]["AP50"] >= 0.9
    assert metrics[kind]["AP50"] >= 0.9


@pytest.mark.parametrize(
    ("name", "metric", "least", "rate"),
    [pytest.param(*recipe, marks=[pytest.mark.slow] * (recipe[0] != QUICK)) for recipe in IMAGE_RECIPES],
)
def test_a_recipe_of_whole_images_overfits_eight_images(name, metric, least, rate, eight_images, learned):
    of_images = {
        "data.image_class": "largest",
        "data.batch_size": 4,
        "model.preprocess.init_args.size": [48, 48],
        "trainer.callbacks": "null",
    }
    (numbers,) = learned(name, short_run(eight_images, 60) | of_images | rate).values()
    assert numbers[metric] >= least


@pytest.mark.slow  # the commands train a segmentation model in default tests too
@pytest.mark.parametrize(("name", "shorter"), PIXEL_RECIPES)
def test_a_recipe_of_label_maps_overfits_eight_images(name, shorter, eight_label_maps, learned):
    metrics = learned(name, short_run(eight_label_maps, 75) | shorter)
    assert metrics["semantic"]["mIoU"] >= 0.85


@pytest.mark.slow
def test_the_panoptic_recipe_overfits_eight_images(tmp_path, learned):
    options = large_shapes({"train": 8}, (96, 112), crowd_probability=0.0, stuff=("grass", "water"))
    root = draw_shapes(tmp_path / "shapes", options)
    numbers = learned("panoptic_fpn_shapes", short_run(root, 110) | SHORT_EDGE)
    assert numbers["panoptic"]["PQ"] >= 0.85
    assert numbers["semantic"]["mIoU"] >= 0.9
    assert numbers["segm"]["AP50"] >= 0.9


@pytest.mark.parametrize("name", ["resnet50_imagenet", "resnet50_imagenet_large_batch"])
def test_imagenets_recipes_can_be_built(name, tmp_path):
    for split in ("train", "val"):
        for folder in ("n01440764", "n01443537"):
            write_image(tmp_path / split / folder / "a.jpg", noise(8, 8))
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    argv = ["--config", str(CONFIGS / f"{name}.yaml"), f"--data.root={tmp_path}"]
    with torch.device("meta"):
        built = parser.instantiate(parse(parser, argv))
    assert built.model.raw(torch.empty(2, 3, 224, 224, device="meta")).logits.shape == (2, 2)
    optimizer = built.optimizer(built.model.parameters())
    assert built.lr_batch_size % 256 == 0
    assert isinstance(built.schedule, Schedule)
    assert (type(optimizer).__name__ == "LARS") == ("large_batch" in name)
    image, target = built.data.train_dataset[0]
    varied, _ = built.data.augmentation(image.permute(1, 2, 0).numpy(), target, np.random.default_rng(0))
    assert varied.shape == (224, 224, 3)


@pytest.mark.parametrize(
    "name",
    [
        "yolo_v1_voc07",
        "yolo_v2_voc07",
        "yolo_v2_coco",
        "yolo_v3_coco",
        "yolo_v3_spp_coco",
        "yolo_v3_tiny_coco",
        "yolo_v4_coco",
        "yolo_v4_tiny_coco",
        "retinanet_resnet50_fpn_coco",
        "fcos_resnet50_fpn_coco",
    ],
)
def test_a_papers_recipe_can_be_built(name, eight_images, monkeypatch):
    """On the meta device, where large models cost nothing, and without a download."""
    monkeypatch.setattr("detkit.backbones.published.ask", lambda url: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **options: resnet50().state_dict())
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    with torch.device("meta"):
        built = parser.instantiate(
            parse(parser, ["--config", str(CONFIGS / f"{name}.yaml"), f"--data.root={eight_images}"])
        )
    assert built.model.num_classes == 5
    side = 448 if "v1" in name else 320
    raw = built.model.raw(torch.empty(2, 3, side, side, device="meta"))
    assert all(x.is_meta for x in tree_leaves(raw))
    assert isinstance(built.schedule, Schedule)


TWO_STAGE = [
    "rcnn_alexnet_voc07",
    "fast_rcnn_vgg16_voc07",
    "faster_rcnn_vgg16_voc07",
    "faster_rcnn_resnet50_c4_coco",
    "faster_rcnn_resnet50_fpn_coco",
    "mask_rcnn_resnet50_fpn_coco",
    "keypoint_rcnn_resnet50_fpn_coco",
    "cascade_rcnn_resnet50_fpn_coco",
]


@pytest.mark.parametrize("name", TWO_STAGE)
def test_a_two_stage_papers_recipe_can_be_built(name, eight_images, tmp_path):
    """On the meta device, and without the published weights that would be downloaded."""
    recipe = _without_downloads(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    splits = [f"--data.{split}_annotations=null" for split in ("train", "val")]
    splits += ["--data.train_split=train", "--data.val_split=val"]
    with torch.device("meta"):
        argv = ["--config", str(tmp_path / "recipe.yaml"), f"--data.root={eight_images}", *splits]
        built = parser.instantiate(parse(parser, argv))
    model = built.model
    assert model.num_classes == 5
    features, _ = model.raw(torch.empty(2, 3, 224, 320, device="meta"))
    channels, cells = model.region_pool.out_channels(features[0].shape[1]), model.region_pool.resolution
    crops = torch.empty(7, channels, cells, cells, device="meta")
    for head in getattr(model.box_head, "stages", [model.box_head]):
        assert head.answer(head.trunk(crops)).logits.shape == (7, 6)
    # The learning rate has its last drop before the end.
    assert 0 < max(built.schedule.milestones) < built.trainer.max_epochs
    assert len(built.optimizer(built.model.parameters()).param_groups[0]["params"]) > 10


def _without_downloads(part):
    """`part` of a recipe, with no `weights` anywhere in it."""
    if isinstance(part, dict):
        return {key: None if key == "weights" else _without_downloads(value) for key, value in part.items()}
    return [_without_downloads(value) for value in part] if isinstance(part, list) else part


@pytest.mark.parametrize(
    ("name", "kind", "loss"), [("mask_rcnn_shapes", "masks", "mask"), ("keypoint_rcnn_shapes", "keypoints", "keypoint")]
)
def test_what_the_model_learns_is_read_whatever_an_old_flag_says(
    name, kind, loss, eight_images, tmp_path, monkeypatch, detkit_command
):
    monkeypatch.chdir(tmp_path)
    options = {
        "data.root": eight_images,
        f"data.with_{kind}": "false",
        "data.val_images": eight_images / "images" / "train",
        "data.val_annotations": eight_images / "annotations" / "instances_train.json",
        "data.num_workers": 0,
        "data.batch_size": 2,
        "pictures": 0,
        "schedule": "null",
        "trainer.max_steps": 1,
        "trainer.limit_val_batches": 0,
        "trainer.log_every_n_steps": 1,
        "trainer.accelerator": "cpu",
    }
    arguments = [f"--{key}={value}" for key, value in options.items()]
    status, said = detkit_command("train", "--config", CONFIGS / f"{name}.yaml", *arguments)
    assert status == 0, said
    with open(tmp_path / "runs" / name / "metrics.csv") as file:
        row = next(csv.DictReader(file))
    assert float(row[f"train/{loss}"]) > 0


@pytest.mark.parametrize(
    ("name", "side", "boxes"),
    [
        ("ssd300_voc07", 300, 8732),
        ("ssd300_coco", 300, 8732),
        ("ssd512_coco", 512, 24564),
        ("ssdlite_mobilenet_v3_coco", 320, 3234),
    ],
)
def test_ssds_papers_recipes_can_be_built(name, side, boxes, eight_images, tmp_path):
    """Without the weights that they download; and their augmentation gives images of all sizes, and objects."""
    recipe = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    recipe["model"]["init_args"]["backbone"]["init_args"]["weights"] = None
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    argv = ["--config", str(tmp_path / "recipe.yaml"), f"--data.root={eight_images}"]
    with torch.device("meta"):
        built = parser.instantiate(parse(parser, argv))
    assert built.model.raw(torch.empty(2, 3, side, side, device="meta")).logits.shape == (2, boxes, 6)
    assert built.model.preprocess.size == side
    assert isinstance(built.schedule, Schedule)
    sizes, objects = set(), 0
    for seed, (image, target) in enumerate(built.data.train_dataset):
        pixels = image.permute(1, 2, 0).numpy()
        varied, moved = built.data.augmentation(pixels, target, np.random.default_rng(seed))
        sizes.add(varied.shape)
        objects += len(moved)
    assert len(sizes) > 2
    assert objects
