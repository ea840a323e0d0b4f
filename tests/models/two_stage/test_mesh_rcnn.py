"""Mesh R-CNN: its parts and baselines, what it asks for, and that it learns shapes from images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from narrow_models import batch_for, small

from detkit.errors import InputError
from detkit.heads import RPN, DepthHead, MaskHead, MeshHead, VoxelHead
from detkit.matching import Matcher
from detkit.models import MeshRCNN
from detkit.preprocess import ShortestEdge, Square
from detkit.structures import Meshes, Target
from detkit.structures.meshes import icosphere
from detkit.trust.doctor.round_trip.ideal_network import ideal_network

DEPTH, VOXEL = partial(DepthHead, hidden=16), partial(VoxelHead, channels=16, resolution=6)
MESH = partial(MeshHead, channels=16, samples=100)
MASK = partial(MaskHead, channels=8)
BASELINES = {
    "mesh": {"voxel_head": VOXEL, "mesh_head": MESH},
    "voxel-only": {"voxel_head": VOXEL, "mesh_head": None},
    "sphere-init": {"voxel_head": None, "mesh_head": partial(MESH, sphere_level=1)},
    "pixel2mesh+": {"voxel_head": None, "mesh_head": partial(MESH, sphere_level=0, subdivide=True)},
}
LOSSES = {"voxel_head": {"voxel"}, "mesh_head": {"mesh.chamfer", "mesh.normals", "mesh.edge"}}


def _model(backbone, name="mesh", **options):
    torch.manual_seed(0)
    return MeshRCNN(backbone(8), 3, DEPTH, mask_head=MASK, **BASELINES[name], **small(**options))


def _scene(seed):
    """An image of two bright ellipsoids in front of a camera, and its target."""
    generator, sphere = torch.Generator().manual_seed(seed), icosphere(2)
    camera = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    centers = torch.tensor([[-0.9, 0.1, 3.5], [0.9, -0.1, 3.8]]) + 0.2 * torch.rand(2, 3, generator=generator)
    radii = 0.4 + 0.3 * torch.rand(2, 3, generator=generator)
    vertices = [sphere.vertices * radius + center for radius, center in zip(radii, centers, strict=True)]
    image, boxes, masks = 0.2 * torch.rand(3, 48, 64, generator=generator), [], []
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    for number, points in enumerate(vertices):
        pixels = points @ camera.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low, high = pixels.amin(dim=0), pixels.amax(dim=0)
        offsets = (torch.stack((x, y), dim=-1) - (low + high) / 2) / ((high - low) / 2)
        masks.append(offsets.norm(dim=-1) < 1)
        boxes.append(torch.cat((low, high)))
        image[number, masks[-1]] = 0.9
    meshes = Meshes(vertices, [sphere.faces] * 2)
    return image, Target(torch.stack(boxes), torch.arange(2), torch.stack(masks), camera=camera, meshes=meshes)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_the_losses_and_answers_of_their_branches(tiny_backbone, name):
    model = _model(tiny_backbone, name)
    images, targets = batch_for(model, 2)
    losses = model(images, targets)
    own = {"depth"}.union(*(names for head, names in LOSSES.items() if BASELINES[name][head] is not None))
    assert losses.keys() - {"rpn_cls", "rpn_box", "box_cls", "box_reg", "mask"} == own
    model.eval()
    model.box_head.postprocess.score_threshold = 0.0
    with torch.no_grad():
        answers = model(images, given=[Target(camera=one.camera) for one in targets])
    for answer in answers:
        assert len(answer) > 10
        assert len(answer.meshes) == len(answer.masks) == len(answer)
        assert (answer.voxels is None) == (BASELINES[name]["voxel_head"] is None)
        assert answer.meshes.is_closed()[answer.meshes.topology.face_counts > 0].all()
        # In units of its distance, an object is around 1.
        assert (answer.meshes.vertices[:, 2] > 0).all()


def test_default_weights_are_those_of_the_authors(tiny_backbone):
    images, targets = batch_for(_model(tiny_backbone), 2)
    plain = _model(tiny_backbone, loss_weights={})
    losses, own = (
        model(images, targets, generator=torch.Generator().manual_seed(0)) for model in (plain, _model(tiny_backbone))
    )
    factors = {name: round(float(own[name].detach() / losses[name].detach()), 3) for name in losses}
    assert {name: factor for name, factor in factors.items() if factor != 1} == {"voxel": 3, "mesh.normals": 0.1}


def test_sizes_and_thresholds_are_those_of_the_authors(tiny_backbone):
    """The shapes of the weights of ``meshrcnn_R50.pth`` that are not Mask R-CNN's."""
    model = MeshRCNN(tiny_backbone(8), 9)
    shapes = {name: tuple(value.shape) for name, value in model.branches.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight") and name[:4] != "mask"} == {
        "depth.layers.fc6.weight": (1024, 256 * 7 * 7),
        "depth.layers.fc7.weight": (1024, 1024),
        "depth.log_extents.weight": (9, 1024),
        **{f"voxel.convolutions.{number}.weight": (256, 256, 3, 3) for number in range(4)},
        "voxel.deconvolution.weight": (256, 256, 2, 2),
        "voxel.logits.weight": (24, 256, 1, 1),
        **{
            f"mesh.refinement.stages.{stage}.{name}.weight": shape
            for stage in range(3)
            for name, shape in {
                "bottleneck": (128, 256),
                **{
                    f"convolutions.{number}.{layer}": (128, 131 if stage == 0 or number else 259)
                    for number in range(3)
                    for layer in ("w0", "w1")
                },
                "offset": (3, 131),
            }.items()
        },
    }
    assert model.rpn.matcher == Matcher(0.7, 0.5, keep_best=True, least_background_iou=0.2)
    assert model.region_sampler.matcher == Matcher(0.5, 0.5, least_background_iou=0.2)
    assert (model.region_sampler.count, model.branches["voxel"].threshold) == (64, 0.2)
    training, seeing = model.rpn.postprocess_for_training, model.rpn.postprocess
    assert (training.candidates, training.detections, training.iou_threshold) == (2000, 1000, 0.7)
    assert (seeing.candidates, seeing.detections, seeing.iou_threshold) == (1000, 1000, 0.7)


def test_parts_that_are_given_keep_their_own_settings(tiny_backbone):
    matcher = Matcher(0.6, 0.4)
    model = MeshRCNN(tiny_backbone(8), 3, rpn=partial(RPN, background_iou=0.1), region_matcher=matcher)
    assert model.rpn.matcher == Matcher(0.7, 0.1, keep_best=True)
    assert model.region_sampler.matcher == matcher


def test_it_asks_for_cameras_and_its_graph_does_not(tiny_backbone):
    model = _model(tiny_backbone)
    assert (model.asks_for, model.learns_from) == ({"camera"}, {"masks", "meshes"})
    assert model.graph_fields == frozenset()
    images, targets = batch_for(model, 2)
    with pytest.raises(InputError, match=r"the model asks for camera of each image: call model\(images, given="):
        model.eval()(images)
    with pytest.raises(InputError, match=r"given\[1\].*: camera is missing"):
        model(images, [targets[0], replace(targets[1], camera=None)])
    with pytest.raises(InputError, match=r"given\[0\] must be a detkit\.structures\.Target, got Tensor"):
        model.predict(images[0], given=targets[0].camera)


@pytest.mark.parametrize("factors", [(float("nan"),) * 3, (0, 0, 1), (1, -1, 1), (2, 2, 2)])
def test_matrices_that_are_no_cameras_are_named(tiny_backbone, factors):
    """They would make infinite losses, and shapes that are NaN."""
    model = _model(tiny_backbone)
    images, targets = batch_for(model, 2)
    wrong = replace(targets[1], image_id="second", camera=targets[1].camera * torch.tensor(factors)[:, None])
    message = r"given\[1\], image id second: its camera \[\[.* is no intrinsic matrix; give finite numbers, focal"
    with pytest.raises(InputError, match=message):
        model(images, [targets[0], wrong])
    with pytest.raises(InputError, match=message.replace("1", "0", 1)):
        model.predict(images[1], given=replace(wrong, boxes=None, labels=None, masks=None, meshes=None))


def test_images_without_meshes_teach_the_rest(tiny_backbone):
    model = _model(tiny_backbone)
    images, targets = batch_for(model, 2)
    losses = model(images, [replace(one, meshes=None) for one in targets])
    zero = {name for name, loss in losses.items() if loss == 0}
    assert zero == {"depth", "voxel", "mesh.chamfer", "mesh.normals", "mesh.edge"}
    sum(losses.values()).backward()
    assert all(one.grad is not None for one in model.parameters())


def test_it_learns_the_shapes_of_a_few_images(tiny_backbone):
    """Every loss falls but that of normals: the blocks that the voxels are at first have smooth sides."""
    model = _model(tiny_backbone)
    images, targets = zip(*(_scene(seed) for seed in range(2)), strict=True)
    optimizer, history = torch.optim.Adam(model.parameters(), 5e-3), []
    for _ in range(40):
        losses = model(images, targets, generator=torch.Generator().manual_seed(0))
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    falls = {name: min(one[name] for one in history[-5:]) / loss for name, loss in history[0].items()}
    falls.pop("mesh.normals")
    assert max(falls.values()) < 0.95, falls
    assert max(falls[name] for name in ("depth", "voxel", "mesh.chamfer")) < 0.5, falls


@pytest.mark.parametrize("preprocess", [ShortestEdge(64, 96), Square(72)], ids=lambda one: type(one).__name__)
def test_a_perfect_network_answers_the_true_shapes(tiny_backbone, preprocess):
    """As the doctor runs it: what remains are encoding and decoding. `Square` scales x and y differently."""
    model = _model(tiny_backbone, preprocess=preprocess).eval()
    images, targets = zip(*(_scene(seed) for seed in range(2)), strict=True)
    with ideal_network(model) as network:
        answers = network.decode(*network.prepare(images, targets))
    for answer, target in zip(answers, targets, strict=True):
        assert sorted(answer.labels.tolist()) == [0, 1]
        for found in answer:
            true = target.meshes[found.label].vertices
            distance = (true[:, 2].max() + true[:, 2].min()) / 2
            assert torch.allclose(found.mesh.vertices * distance, true, atol=2e-3)
            assert 0.2 < (found.voxels > 0.5).float().mean() < 0.7
