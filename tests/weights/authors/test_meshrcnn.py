"""The published weights of Mesh R-CNN, on state dicts of their names and shapes with random values.

The numbers of parameters, and that all outputs are equal, were also found by running the authors' own modules.
"""

import secrets
from functools import partial

import pytest
import torch
from meshrcnn_reference import (
    mesh_names,
    of_voxels,
    pix3d_branches,
    refined,
    resnet_names,
    shapenet_tensors,
    voxel_logits,
    voxel_names,
)

from detkit.errors import InputError
from detkit.heads import Context, MeshHead, Regions
from detkit.models import MeshRCNN, ShapeNetMeshRCNN
from detkit.ops.meshes import cubify
from detkit.structures.meshes import icosphere
from detkit.weights import from_meshrcnn

SEEDS = [0, pytest.param(secrets.randbits(31), id="fresh")]
TURN = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)


def image(seed):
    return torch.rand(3, 137, 137, generator=torch.Generator().manual_seed(seed))


def outputs(model, given):
    batch = model.preprocess([given])
    features = model.features(batch)
    return features, model.heads(features, Context(batch))


class TestShapeNet:
    def test_as_many_parameters_as_the_authors_networks(self):
        with torch.device("meta"):
            for model, count in (
                (ShapeNetMeshRCNN(), 32_117_652),
                (ShapeNetMeshRCNN(voxel_head=None, sphere_level=4), 25_353_828),
            ):
                assert sum(one.numel() for one in model.parameters()) == count
                assert len(list(model.parameters())) == len(
                    [
                        name
                        for name in _names(model.voxel_head is not None)
                        if "running" not in name and "num_" not in name
                    ]
                )

    @pytest.mark.parametrize("seed", SEEDS)
    @torch.no_grad()
    def test_spheres_are_moved_as_by_the_authors(self, seed):
        tensors = shapenet_tensors(False, seed)
        model = from_meshrcnn(
            {"best_states": {"model": {f"module.{name}": one for name, one in tensors.items()}}},
            "shapenet/sphereinit_R50.pth",
        ).eval()
        assert model.sphere_level == 4
        model.sphere_level = 2
        features, raw = outputs(model, image(seed))
        start = icosphere(2)
        stages = refined(tensors, features, start.vertices.double() * TURN, start.faces)
        moved = (stages[-1] - start.vertices * TURN).abs().amax(dim=0)
        assert (moved > 1e-4).all()  # that of a random network may be small
        for given, expected in zip(raw.meshes[1:], stages, strict=True):
            torch.testing.assert_close(given.vertices.double(), expected * TURN, rtol=1e-3, atol=2e-3)

    @torch.no_grad()
    def test_spheres_are_subdivided_in_pixel2mesh(self):
        """A stage sees the vertices of the stage before, then the middles of its edges, with their mean features."""
        model = from_meshrcnn(shapenet_tensors(False, 0), "pixel2mesh_R50").eval()
        _, raw = outputs(model, image(0))
        assert [len(one.vertices) for one in raw.meshes] == [162, 162, 642, 2562]
        assert from_meshrcnn(shapenet_tensors(False, 0), "sphereinit_R50").mesh_head.refinement.subdivide is False

    @pytest.mark.parametrize("seed", SEEDS)
    @torch.no_grad()
    def test_voxels_become_meshes_as_by_the_authors(self, seed):
        tensors = shapenet_tensors(True, seed, voxels=8)
        features, raw = outputs(from_meshrcnn(tensors, "voxmesh_R50").eval(), image(seed))
        logits = voxel_logits(tensors, features[-1])
        torch.testing.assert_close(raw.voxels, logits)
        cubes = cubify(logits.sigmoid(), 0.2)
        start = of_voxels(cubes.vertices.double())
        torch.testing.assert_close(raw.meshes[0].vertices.double(), start * TURN, rtol=1e-4, atol=1e-4)
        stages = refined(tensors, features, start, cubes.faces)
        torch.testing.assert_close(raw.meshes[-1].vertices.double(), stages[-1] * TURN, rtol=1e-3, atol=2e-3)

    def test_what_is_answered_is_in_our_frame(self):
        (answer,) = from_meshrcnn(shapenet_tensors(True, 0, voxels=8), "voxmesh_R50").predict([image(0)])
        assert answer.camera[0].tolist() == [149.84375, 0, 68.5]
        assert answer.depth_range.tolist() == pytest.approx([0.60301, 2.44140], rel=1e-4)


class TestPix3D:
    @pytest.mark.parametrize("name", ["meshrcnn_R50", "meshrcnn_S2_R50", "sphereinit_R50", "pixel2mesh_S2_R50"])
    def test_branches_have_the_weights_of_their_names(self, name, pix3d):
        model = from_meshrcnn({"model": pix3d("meshrcnn" in name), "iteration": 11000}, name)
        assert isinstance(model, MeshRCNN)
        assert list(model.branches) == ["mask", "depth", *(["voxel"] if "meshrcnn" in name else []), "mesh"]
        head = model.branches["mesh"]
        level = {"meshrcnn": None, "sphereinit": 4, "pixel2mesh": 2}[name.partition("_")[0]]
        assert (head.sphere_level, head.refinement.subdivide) == (level, level == 2)
        assert [one.name for one in model.categories][:3] == ["bed", "bookcase", "chair"]
        assert (model.region_pool.sampling_ratio, model.region_pool.aligned) == (2, False)
        counted = sum(one.numel() for kind in list(model.branches)[1:] for one in model.branches[kind].parameters())
        assert counted == (17_003_333 if "meshrcnn" in name else 14_374_445)

    @torch.no_grad()
    def test_branches_answer_as_by_the_authors(self, pix3d):
        """Crops through their layers as the names say; coordinates are those of the box's frustum as here."""
        tensors = pix3d(True)
        model = from_meshrcnn(tensors, "meshrcnn_R50").eval()
        generator = torch.Generator().manual_seed(3)
        crops = {side: torch.randn(2, 256, side, side, generator=generator) for side in (7, 12, 14)}
        regions = Regions(
            torch.tensor([[0.0, 0, 50, 60], [10, 10, 80, 90]]), torch.tensor([0, 0]), torch.tensor([2, 5])
        )
        run = partial(dict.__getitem__, model.branches._modules)
        crop = lambda own, side: crops[side]  # noqa: E731
        layer = lambda name: (tensors[f"roi_heads.{name}.weight"], tensors[f"roi_heads.{name}.bias"])  # noqa: E731
        hidden = crops[7].flatten(1)
        for number in (1, 2):
            hidden = torch.relu(torch.nn.functional.linear(hidden, *layer(f"z_head.z_fc{number}")))
        depth = torch.nn.functional.linear(hidden, *layer("z_head.z_pred"))
        torch.testing.assert_close(run("depth")(crop, regions, {}, None).log_extents, depth)
        voxels = run("voxel")(crop, regions, {}, None)
        own = {name.removeprefix("roi_heads."): one for name, one in tensors.items()}
        torch.testing.assert_close(voxels.logits, voxel_logits(own, crops[12]))
        mesh = run("mesh")(crop, regions, {"voxel": voxels}, None)
        weights = run("mesh").state_dict()
        for stage in range(3):
            theirs, ours = f"roi_heads.mesh_head.stages.{stage}.", f"refinement.stages.{stage}."
            for number in range(3):
                for part in ("w0.weight", "w1.bias"):
                    given = weights[f"{ours}convolutions.{number}.{part}"]
                    assert torch.equal(given, tensors[f"{theirs}gconvs.{number}.{part}"])
            assert torch.equal(weights[f"{ours}offset.weight"], tensors[f"{theirs}verts_offset.weight"])
        assert len(mesh.vertices) == 3

    @torch.no_grad()
    def test_the_detector_is_detectron2s(self, pix3d):
        """Blue, green and red became red, green and blue, as `from_detectron2` does it."""
        tensors = pix3d(False)
        model = from_meshrcnn(tensors, "sphereinit_R50")
        first = model.backbone.trunk.conv1.weight
        assert torch.equal(first, tensors["backbone.bottom_up.stem.conv1.weight"].flip(1))
        assert isinstance(model.branches["mesh"], MeshHead)


class TestFiles:
    def test_of_their_names_are_read_without_running_code(self, tmp_path):
        path = tmp_path / "shapenet" / "voxmesh_R50.pth"
        path.parent.mkdir()
        content = {"t": 3, "best_states": {"model": shapenet_tensors(True, 0, voxels=8)}, "metrics": {"loss": [0.5]}}
        torch.save(content, path)
        model = from_meshrcnn(path)
        assert model.voxel_head.voxels == 8
        assert model.provenance[0].name == "Mesh R-CNN voxmesh_R50"
        torch.save(content | {"data": Harmful()}, path)
        with pytest.raises(InputError, match="holds more than weights and plain values"):
            from_meshrcnn(str(path))

    def test_what_does_not_fit_is_named(self):
        tensors = shapenet_tensors(True, 0, voxels=8)
        for content, name, message in (
            (tensors, None, "weights without a name: give one of the names meshrcnn_R50"),
            (tensors, "voxmesh_R101", "cannot import Mesh R-CNN's weights 'voxmesh_R101': give one"),
            (tensors, "meshrcnn_R50", "meshrcnn_R50 is a network for Pix3D, but the state dict has the names of those"),
            ({"a.weight": torch.ones(1)}, "voxmesh_R50", "voxmesh_R50 is a network for ShapeNet, but"),
            ({"a.weight": torch.ones(1)}, "meshrcnn_R50", r"no roi_heads\.box_predictor\.cls_score\.bias in the state"),
            (_without(tensors, "voxel_head.predictor.weight"), "voxmesh_R50", r"no voxel_head\.predictor\.weight in"),
            (
                _without(tensors, "mesh_head.stages.1.gconvs.2.w1.bias"),
                "voxmesh_R50",
                r"lacks mesh_head\.stages\.1\.gconv",
            ),
            (
                tensors | {"voxel_head.deconv.bias": torch.ones(3)},
                "voxmesh_R50",
                r"another shape voxel_head\.deconv\.bias",
            ),
            (tensors | {"head.weight": torch.ones(3)}, "voxmesh_R50", r"has in excess head\.weight"),
        ):
            with pytest.raises(InputError, match=message):
                from_meshrcnn(content, name)


@pytest.fixture(scope="module")
def pix3d():
    """State dicts of networks for Pix3D."""
    from detectron2_reference import random_weights

    detector = random_weights(True, masks=True, classes=9, seed=0)
    return lambda has_voxels: detector | pix3d_branches(has_voxels, 9, 1)


class Harmful:
    """What a file must not run."""


def _names(has_voxels):
    return [*resnet_names(), *(voxel_names() if has_voxels else []), *mesh_names(3840, "vert_offset", "mesh_head")]


def _without(tensors, name):
    return {key: one for key, one in tensors.items() if key != name}
