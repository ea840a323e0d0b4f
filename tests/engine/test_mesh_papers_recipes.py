"""The recipes of Mesh R-CNN's papers are built as they are, and in small they learn from data of their layouts."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from pix3d_folder import write_pix3d
from shapenet_folder import write_shapenet

from detkit.engine.commands.anchors.recipe_model import without_weights
from detkit.engine.commands.train import training_arguments
from detkit.engine.config.recipe import Recipe, build_recipe
from detkit.files import read_yaml
from detkit.learners import SteadyLearner, TrainingBatch
from detkit.matching import Matcher
from detkit.models import MeshRCNN
from detkit.recipes import recipe_path

SHAPENET = "mesh_rcnn_shapenet"
SMALL = (
    "--model.backbone.name=resnet18", "--model.voxel_head.voxels=8", "--model.voxel_head.channels=8",
    "--model.mesh_head.channels=8", "--model.mesh_head.samples=50", "--data.batch_size=2",
)  # fmt: skip
SPHERE = (
    "--model.backbone.name=resnet18", "--model.voxel_head=null", "--model.mesh_head.samples=50", "--data.batch_size=2",
    "--data.lacks=[voxels]", "--learner.starts=null",
)  # fmt: skip
REGIONS = ("--model.rpn.background_iou=0.4", "--model.region_matcher={foreground_iou: 0.6, background_iou: 0.5}")


@pytest.fixture(scope="module")
def shapenet(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapenet")
    write_shapenet(root)
    return root


@pytest.fixture
def build(tmp_path):
    """Builds a recipe without the published weights that would be downloaded."""

    def built(name: str, root: Path, *options: str, unset: Sequence[str] = ()) -> Recipe:
        path, content = tmp_path / "recipe.yaml", without_weights(read_yaml(recipe_path(name)))
        for argument in unset:
            del content["model"]["init_args"][argument]
        path.write_text(yaml.safe_dump(content))
        given = ["--config", str(path), f"--data.root={root}", "--data.num_workers=0", *options]
        return build_recipe(training_arguments(given))

    return built


def test_shapenet_is_built_as_the_authors_trained_it(build, shapenet):
    with torch.device("meta"):
        recipe = build(SHAPENET, shapenet)
    model, learner = recipe.model, recipe.optimization.learner
    assert sum(one.numel() for one in model.parameters()) == 32_117_652
    assert (model.voxel_head.truth, model.voxel_head.threshold, model.mesh_head.samples) == ("voxels", 0.2, 5000)
    assert model.loss_weights == {"mesh.normals": 0.0, "mesh.edge": 0.2}
    assert isinstance(learner, SteadyLearner)
    assert (learner.starts, learner.skip_above, learner.momentum) == ({"mesh": 100}, 50.0, 0.9)
    assert recipe.data.batch_size * 8 == 64
    assert recipe.optimization.schedule is None
    assert recipe.data.augmentation is None


@pytest.mark.parametrize(
    ("options", "names", "vertices"),
    [
        (SMALL, {"voxel", "mesh.chamfer", "mesh.normals", "mesh.edge"}, None),
        (
            (*SMALL[:3], SMALL[-1], "--model.mesh_head=null", "--model.loss_weights=null", "--learner.starts=null"),
            {"voxel"},
            None,
        ),
        ((*SPHERE, "--model.sphere_level=4"), {"mesh.chamfer", "mesh.normals", "mesh.edge"}, 2562),
        (
            (*SPHERE, "--model.sphere_level=2", "--model.mesh_head.subdivide=true"),
            {"mesh.chamfer", "mesh.normals", "mesh.edge"},
            2562,
        ),
    ],
    ids=["mesh", "voxels", "sphere-init", "pixel2mesh"],
)
def test_shapenet_and_its_baselines_learn_from_renderings(build, shapenet, options, names, vertices):
    torch.manual_seed(0)
    recipe = build(SHAPENET, shapenet, *options)
    images, targets = next(iter(recipe.data.train_dataloader()))
    assert all(target.meshes is not None and target.camera is not None for target in targets)
    losses = recipe.optimization.learner.losses(recipe.model, TrainingBatch(images, targets))
    assert losses.keys() == names
    torch.stack(list(losses.values())).sum().backward()
    if "--learner.starts=null" not in options:
        assert losses["mesh.chamfer"] == 0  # they start at the 101st batch
    (answer,) = recipe.model.predict(images[:1])
    assert vertices is None or len(answer.meshes.vertices) == vertices
    torch.testing.assert_close(answer.camera, targets[0].camera)


@pytest.fixture(scope="module")
def pix3d(tmp_path_factory):
    root = tmp_path_factory.mktemp("pix3d")
    for seed, split in enumerate(("train", "test")):
        write_pix3d(root, seed, f"pix3d_s1_{split}.json")
    return root


def pix3d_options(root):
    splits = (("train", "train"), ("val", "test"))
    named = [f"--data.{split}_annotations={root}/pix3d_s1_{own}.json" for split, own in splits]
    return [*named, f"--data.train_images={root}", f"--data.val_images={root}", "--data.excluded_images=null"]


def test_pix3d_is_built_as_the_authors_trained_it(build, pix3d):
    with torch.device("meta"):
        recipe = build("mesh_rcnn_resnet50_fpn_pix3d", pix3d, *pix3d_options(pix3d))
    model, schedule = recipe.model, recipe.optimization.schedule
    assert isinstance(model, MeshRCNN)
    assert list(model.branches) == ["mask", "depth", "voxel", "mesh"]
    assert model.loss_weights == {"voxel": 3.0, "mesh.chamfer": 1.0, "mesh.normals": 0.1, "mesh.edge": 1.0}
    assert (model.branches["voxel"].truth, model.branches["mesh"].max_coordinate) == ("voxels", 5.0)
    assert recipe.data.batch_size * 8 == 16
    assert (recipe.trainer["max_steps"], recipe.run.start_from) == (11000, "torchvision:maskrcnn_resnet50_fpn")
    rates = [schedule.factor(step, 0, 11000, 471) for step in (7990, 8010, 9990, 10010)]
    assert rates == pytest.approx([1, 0.1, 0.1, 0.01])


def test_a_recipe_records_the_defaults_of_the_model_without_warnings(build, pix3d):
    """A default that jsonargparse cannot write is a warning at each training."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?s).*Unable to serialize")
        recipe = build("mesh_rcnn_resnet50_fpn_pix3d", pix3d, *pix3d_options(pix3d), unset=["rpn"])
    assert recipe.model.rpn.matcher == Matcher(0.7, 0.5, keep_best=True, least_background_iou=0.2)
    arguments = recipe.resolved["model"]["init_args"]
    assert (arguments["rpn"], arguments["region_matcher"]) == (None, None)
    with torch.device("meta"):
        own = build("mesh_rcnn_resnet50_fpn_pix3d", pix3d, *pix3d_options(pix3d), *REGIONS)
    assert own.model.rpn.matcher == Matcher(0.7, 0.4, keep_best=True, least_background_iou=0.2)
    assert own.model.region_sampler.matcher == Matcher(0.6, 0.5)


@pytest.mark.parametrize(
    ("options", "branches"),
    [
        (("--model.mesh_head=null",), ["mask", "depth", "voxel"]),
        (("--model.voxel_head=null", "--model.mesh_head.sphere_level=4"), ["mask", "depth", "mesh"]),
        (
            ("--model.voxel_head=null", "--model.mesh_head.sphere_level=2", "--model.mesh_head.subdivide=true"),
            ["mask", "depth", "mesh"],
        ),
    ],
    ids=["voxels", "sphere-init", "pixel2mesh"],
)
def test_baselines_of_pix3d_are_overrides(build, pix3d, options, branches):
    with torch.device("meta"):
        recipe = build("mesh_rcnn_resnet50_fpn_pix3d", pix3d, *pix3d_options(pix3d), *options)
    assert list(recipe.model.branches) == branches
    if "mesh" in branches:
        head = recipe.model.branches["mesh"]
        assert (head.sphere_level, head.refinement.subdivide) == (
            (2, True) if "subdivide" in options[-1] else (4, False)
        )


def test_pix3d_is_read_with_meshes_voxels_and_cameras(build, pix3d):
    with torch.device("meta"):
        recipe = build("mesh_rcnn_resnet50_fpn_pix3d", pix3d, *pix3d_options(pix3d))
    for _, targets in (next(iter(recipe.data.train_dataloader())), next(iter(recipe.data.val_dataloader()))):
        for target in targets:
            assert (len(target.meshes), len(target.voxels), len(target.boxes)) == (1, 1, 1)
            assert target.camera is not None
            assert target.masks is not None
