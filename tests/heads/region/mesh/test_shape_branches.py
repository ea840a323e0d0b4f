"""The branches of depth, voxels and meshes: what they learn, what they answer, and in which frame."""

from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pytest
import torch
from shape_scenes import CAMERA, PLACEMENT, SIZE, context_of, crop_of, project, regions_of, scene, true_depths

from detkit.errors import InputError
from detkit.geometry import Placement
from detkit.heads import DepthHead, MeshHead, VoxelHead
from detkit.heads.region.mesh import ignored_steps
from detkit.heads.region.mesh.depth_head import Depths
from detkit.heads.region.mesh.mesh_head import RefinedMeshes
from detkit.heads.region.mesh.region_shapes import region_shapes
from detkit.heads.region.mesh.voxel_head import Voxels
from detkit.structures import Detections, Meshes, Target
from detkit.structures.meshes import icosphere

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]
MIRROR = Placement.mirror(SIZE, True, False)
FRAMES = {"resized": PLACEMENT, "same": Placement.identity(SIZE), "mirrored": MIRROR}


def _detections(targets: list[Target]) -> list[Detections]:
    return [Detections(one.boxes, torch.ones(len(one)), one.labels) for one in targets]


def _head(kind, **options):
    torch.manual_seed(0)
    return kind(4, 3, **options)


def _voxel_head(**options):
    return _head(VoxelHead, channels=6, convolutions=1, **{"resolution": 6} | options)


def _mesh_head(**options):
    return _head(MeshHead, channels=6, **{"samples": 200} | options)


class TestDepth:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_learns_the_extent_in_heights_of_the_box(self, seed):
        """The loss is 0 at the logarithm of (z1 - z0) / center * f / h, and Huber's around it."""
        targets = scene(seed)
        context = context_of(targets)
        regions, head = regions_of(context), _head(DepthHead, hidden=8)
        exact = true_depths(regions, context)
        assert float(head.losses(exact, regions, {}, context)["depth"]) < 1e-10
        for offset in (0.3, -2.0):
            shifted = Depths(exact.log_extents + offset)
            expected = 0.5 * offset**2 if abs(offset) < 1 else abs(offset) - 0.5
            assert float(head.losses(shifted, regions, {}, context)["depth"]) == pytest.approx(expected, rel=1e-4)

    def test_does_not_depend_on_the_size_of_the_image(self):
        targets = scene()
        head = _head(DepthHead, hidden=8)
        for placement in (PLACEMENT, Placement.identity(SIZE), Placement.resize(SIZE, (33, 44)), MIRROR):
            context = context_of(targets, placement)
            regions = regions_of(context)
            ideal = head.ideal(regions, {}, context)
            assert torch.allclose(ideal.log_extents, true_depths(regions, context).log_extents, atol=1e-5)
            extents = ideal.pixels(regions) / context.given[0].camera[1, 1]
            expected = [2 * float((z.max() - z.min()) / (z.max() + z.min())) for target in targets
                        for z in (own[:, 2] for own in target.meshes.vertices_list())]  # fmt: skip
            assert extents.tolist() == pytest.approx(expected, rel=1e-5)

    def test_only_the_class_of_the_object_learns(self):
        context = context_of(scene())
        regions = regions_of(context)
        raw = Depths(torch.zeros(5, 3, requires_grad=True))
        _head(DepthHead, hidden=8).losses(raw, regions, {}, context)["depth"].backward()
        learned = raw.log_extents.grad != 0
        assert torch.equal(learned, torch.nn.functional.one_hot(regions.labels, 3).bool())


def test_the_same_regions_have_the_shapes_of_the_context_that_is_given():
    contexts = [context_of(scene(seed)) for seed in (0, 1)]
    regions = regions_of(contexts[0])
    for context in (*contexts, contexts[0]):
        shapes = region_shapes(regions, context, "meshes")
        own = torch.cat([one.meshes.vertices for one in context.truth])
        assert torch.equal(shapes.shapes.vertices, own)
        assert shapes is region_shapes(regions, context, "meshes")  # computed once


class TestVoxels:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("truth", ["meshes", "voxels"])
    def test_the_true_cells_are_those_inside_the_object(self, seed, truth):
        """An ellipsoid's own equation decides, at the center of each cell; points also fill cells in part."""
        targets = scene(seed)
        context = context_of(targets)
        regions, head = regions_of(context), _voxel_head(truth=truth)
        cells = head.ideal(regions, {}, context).logits > 0
        pairs = [pair for one in targets for pair in zip(one.meshes.vertices_list(), one.boxes, strict=True)]
        expected = torch.stack([_inside(vertices, box) for vertices, box in pairs])
        assert 0.2 < expected.float().mean() < 0.6
        # A polyhedron has less volume than its ellipsoid.
        assert (expected & ~cells).float().mean() < 0.02
        around = torch.nn.functional.max_pool3d(expected.float(), 3, stride=1, padding=1) > 0
        assert not (cells & ~(expected if truth == "meshes" else around)).any()

    def test_the_loss_is_the_mean_over_all_cells(self):
        context = context_of(scene())
        regions, head = regions_of(context), _voxel_head()
        ideal = head.ideal(regions, {}, context).logits > 0
        logits = torch.randn(5, 12, 12, 12, generator=torch.Generator().manual_seed(0))
        loss = head.losses(Voxels(logits, 0.2), regions, {}, context)["voxel"]
        p = logits.double().sigmoid().numpy()
        expected = -np.where(ideal.numpy(), np.log(p), np.log(1 - p)).mean()
        assert float(loss) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("batch_norm", [False, True])
    def test_without_regions_the_loss_is_zero_and_attached(self, batch_norm):
        context, head = context_of(scene()), _voxel_head(batch_norm=batch_norm).train()
        none = regions_of(context)[torch.zeros(0, dtype=torch.int64)]
        loss = head.losses(head(lambda *_: torch.zeros(0, 4, 6, 6), none, {}, context), none, {}, context)["voxel"]
        loss.backward()
        assert loss == 0
        assert all(parameter.grad is not None for parameter in head.parameters())

    def test_an_answer_has_probabilities_and_where_depths_are_known_meshes(self):
        targets = scene()
        learning, seeing = context_of(targets), context_of(targets, learning=False)
        regions, head = regions_of(learning), _voxel_head()
        ideal = head.ideal(regions, {}, learning)
        alone = head.decode(ideal, regions, {}, _detections(targets), seeing)
        assert [one.voxels.shape for one in alone] == [(2, 12, 12, 12), (3, 12, 12, 12)]
        assert torch.equal(torch.cat([one.voxels for one in alone]) > 0.5, ideal.logits > 0)
        assert alone[0].meshes is None
        both = head.decode(ideal, regions, {"z": true_depths(regions, learning)}, _detections(targets), seeing)
        for answer, target in zip(both, targets, strict=True):
            for own, true in zip(answer.meshes.vertices_list(), target.meshes.vertices_list(), strict=True):
                center = (true[:, 2].max() + true[:, 2].min()) / 2
                size = (true.amax(dim=0) - true.amin(dim=0)) / center
                # Cells begin at multiples of 2 / 11: a mesh ends up to a cell too late.
                assert ((own.amin(dim=0) - true.amin(dim=0) / center).abs() < 0.15 * size).all()
                assert ((own.amax(dim=0) - true.amax(dim=0) / center).abs() < 0.25 * size).all()
            assert answer.meshes.is_closed().all()

    def test_no_occupied_cell_is_a_mesh_without_faces(self):
        targets = scene()
        context = context_of(targets)
        regions, head = regions_of(context), _voxel_head()
        logits = torch.full((5, 12, 12, 12), -9.0)
        logits[3] = 9.0
        so_far = {"depth": true_depths(regions, context), "voxel": Voxels(logits, 0.2)}
        (first, second) = head.decode(so_far["voxel"], regions, so_far, _detections(targets), context)
        assert first.meshes.topology.face_counts.tolist() == [0, 0]
        assert second.meshes.topology.face_counts.tolist()[0::2] == [0, 0]
        assert second.meshes.topology.face_counts[1] > 0
        mesh_head = _mesh_head()
        raw = mesh_head(crop_of(), regions, so_far, context)
        losses = mesh_head.losses(raw, regions, so_far, context)
        assert all(loss > 0 for loss in losses.values())
        answers = mesh_head.decode(raw, regions, so_far, _detections(targets), context)
        assert [len(own) for own in answers[1].meshes.vertices_list()][0::2] == [0, 0]

    def test_the_threshold_decides_what_is_meshed(self):
        logits = torch.full((1, 4, 4, 4), 0.3).logit()
        assert len(Voxels(logits, 0.2).cubified.faces) == 12 * 16
        assert len(Voxels(logits, 0.4).cubified.faces) == 0


def _inside(vertices: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Which of 12^3 cells of the frustum have their center in an ellipsoid, given by its vertices."""
    low, high = vertices.double().amin(dim=0), vertices.double().amax(dim=0)
    steps = 2 * (torch.arange(12, dtype=torch.float64) + 0.5) / 11 - 1
    z, y, x = torch.meshgrid(steps, steps, steps, indexing="ij")
    depth = 1 / (1 / low[2] + (z + 1) / 2 * (1 / high[2] - 1 / low[2]))
    u = box[0] + (x + 1) / 2 * (box[2] - box[0])
    v = box[1] + (y + 1) / 2 * (box[3] - box[1])
    points = torch.stack(((u - CAMERA[0, 2]) / CAMERA[0, 0] * depth, (v - CAMERA[1, 2]) / CAMERA[1, 1] * depth, depth))
    center, radii = (low + high) / 2, (high - low) / 2
    return ((points - center.view(3, 1, 1, 1)) / radii.view(3, 1, 1, 1)).square().sum(dim=0) < 1


class TestMeshes:
    @pytest.mark.parametrize(
        "placement", [PLACEMENT, Placement.identity(SIZE), MIRROR], ids=["resized", "same", "mirrored"]
    )
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_perfect_mesh_is_answered_in_units_of_its_distance(self, placement, seed):
        """Also where the network sees a mirror image: answers are in the camera frame of the image as given."""
        targets = scene(seed)
        learning, seeing = context_of(targets, placement), context_of(targets, placement, learning=False)
        regions, head = regions_of(learning), _mesh_head()
        raw = head.ideal(regions, {}, learning)
        answers = head.decode(raw, regions, {"depth": true_depths(regions, learning)}, _detections(targets), seeing)
        for answer, target in zip(answers, targets, strict=True):
            for own, true in zip(answer.meshes.vertices_list(), target.meshes.vertices_list(), strict=True):
                center = (true[:, 2].max() + true[:, 2].min()) / 2
                assert torch.allclose(own * center, true, atol=2e-4)
                assert torch.allclose(project(own), project(true), atol=0.02)
            assert torch.equal(answer.meshes.faces, target.meshes.faces)

    def test_a_block_of_voxels_is_refined_toward_the_truth(self):
        """Learning from fixed crops lowers every loss of the surface."""
        context = context_of(scene())
        regions, head = regions_of(context), _mesh_head(samples=500)
        so_far = {"voxel": Voxels(torch.full((5, 6, 6, 6), 9.0), 0.2)}
        optimizer = torch.optim.Adam(head.parameters(), 0.01)
        history = []
        for step in range(40):
            again = replace(context, generator=torch.Generator().manual_seed(step))
            losses = head.losses(head(crop_of(), regions, so_far, context), regions, so_far, again)
            history.append({name: float(loss.detach()) for name, loss in losses.items()})
            optimizer.zero_grad()
            (losses["mesh.chamfer"] + 0.1 * losses["mesh.normals"] + losses["mesh.edge"]).backward()
            optimizer.step()
        assert history[-1]["mesh.chamfer"] < 0.5 * history[0]["mesh.chamfer"]
        assert history[-1]["mesh.normals"] < history[0]["mesh.normals"]

    def test_an_untrained_head_answers_what_it_began_with(self):
        context = context_of(scene())
        regions = regions_of(context)
        voxels = _voxel_head().ideal(regions, {}, context)
        raw = _mesh_head()(crop_of(), regions, {"voxel": voxels}, context)
        assert all(torch.equal(one, voxels.cubified.vertices) for one in raw.vertices)
        assert len(raw.vertices) == 3

    @pytest.mark.parametrize(("subdivide", "sizes"), [(False, [42, 42, 42]), (True, [42, 162, 642])])
    def test_spheres_need_no_voxels(self, subdivide, sizes):
        context = context_of(scene())
        regions, head = regions_of(context), _mesh_head(sphere_level=1, subdivide=subdivide)
        raw = head(crop_of(), regions, {}, context)
        assert [one.topology.vertex_counts.tolist() for one in raw.stages()] == [[size] * 5 for size in sizes]
        assert torch.equal(raw.vertices[0][:42], icosphere(1).vertices)
        assert all(loss > 0 for loss in head.losses(raw, regions, {}, context).values())

    def test_losses_are_those_of_the_objects_that_have_a_mesh(self):
        """Of two images one lacks meshes, and an object of the other has an empty one."""
        targets = scene(counts=(2, 3))
        empty = Meshes([targets[1].meshes.vertices_list()[0], torch.zeros(0, 3), targets[1].meshes.vertices_list()[2]],
                       [targets[1].meshes.faces_list()[0], torch.zeros(0, 3, dtype=torch.int64),
                        targets[1].meshes.faces_list()[2]])  # fmt: skip
        mixed = context_of([replace(targets[0], meshes=None), replace(targets[1], meshes=empty)])
        alone = context_of([targets[1][torch.tensor([0, 2])]])
        rows = torch.tensor([2, 4])
        regions, fewer = regions_of(mixed), regions_of(alone)
        mesh_head, depth_head, voxel_head = _mesh_head(sphere_level=1), _head(DepthHead, hidden=8), _voxel_head()
        raw = mesh_head(crop_of(), regions, {}, mixed)
        part = RefinedMeshes.of([one[rows] for one in raw.stages()])
        expected = mesh_head.losses(part, fewer, {}, alone)
        own = mesh_head.losses(raw, regions, {}, mixed)
        assert {name: float(loss.detach()) for name, loss in own.items()} == pytest.approx(
            {name: float(loss.detach()) for name, loss in expected.items()}, rel=1e-5
        )
        depths = Depths(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
        assert depth_head.losses(depths, regions, {}, mixed)["depth"] == pytest.approx(
            float(depth_head.losses(Depths(depths.log_extents[rows]), fewer, {}, alone)["depth"]), rel=1e-5
        )
        voxels = torch.randn(5, 12, 12, 12, generator=torch.Generator().manual_seed(0))
        assert voxel_head.losses(Voxels(voxels, 0.2), regions, {}, mixed)["voxel"] == pytest.approx(
            float(voxel_head.losses(Voxels(voxels[rows], 0.2), fewer, {}, alone)["voxel"]), rel=1e-5
        )

    def test_a_region_far_from_its_object_teaches_nothing(self, caplog, monkeypatch):
        monkeypatch.setattr(ignored_steps, "REPORT_EVERY", 2)
        context = context_of(scene())
        regions = regions_of(context)
        moved = replace(regions, boxes=regions.boxes.clone())
        moved.boxes[0] = torch.tensor([150.0, 80, 155, 85])
        head = _mesh_head(sphere_level=1)
        raw = head(crop_of(), moved, {}, context)
        assert all(loss > 0 for loss in head.losses(raw, regions, {}, context).values())
        losses = head.losses(raw, moved, {}, context)
        (message,) = caplog.messages
        assert message.startswith("1 of the last 2 steps taught MeshHead no mesh, since a true one reaches beyond 5 in")
        assert losses.keys() == {"mesh.chamfer", "mesh.normals", "mesh.edge"}
        assert all(loss == 0 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(one.grad is not None and not one.grad.any() for one in head.parameters())
        generous = _mesh_head(sphere_level=1, max_coordinate=1e6)
        assert all(loss > 0 for loss in generous.losses(raw, moved, {}, context).values())


class TestWrongInput:
    def test_branches_that_are_missing_are_named(self):
        context = context_of(scene())
        regions, head = regions_of(context), _mesh_head()
        with pytest.raises(InputError, match="name a VoxelHead before it among the branches, or set sphere_level"):
            head(crop_of(), regions, {}, context)
        raw = head(crop_of(), regions, {"voxel": _voxel_head().ideal(regions, {}, context)}, context)
        with pytest.raises(InputError, match="name a DepthHead before it"):
            head.decode(raw, regions, {}, _detections(scene()), context)

    def test_of_two_branches_that_predict_the_same_none_is_preferred(self):
        context = context_of(scene())
        regions, head = regions_of(context), _mesh_head()
        voxels, depths = (one.ideal(regions, {}, context) for one in (_voxel_head(), _head(DepthHead, hidden=8)))
        both = {"coarse": voxels, "depth": depths, "fine": voxels}
        with pytest.raises(InputError, match=r"branches 'coarse' and 'fine' both predict voxels, .* leave out one"):
            head(crop_of(), regions, both, context)
        raw = head(crop_of(), regions, {"fine": voxels}, context)
        both = {"near": depths, "far": depths}
        for one, own in ((head, raw), (_voxel_head(), voxels)):
            with pytest.raises(InputError, match="branches 'near' and 'far' both predict depths"):
                one.decode(own, regions, both, _detections(scene()), context)

    @pytest.mark.parametrize(
        ("scale", "shift", "message"),
        [
            (1, -4, r"image id image 1, object 2: its shape begins at z = -\d.*, which is not in front of the camera"),
            (0, 3, "image id image 1, object 2: its shape has no depth, all of it lies at z = 3"),
        ],
    )
    def test_shapes_that_no_camera_sees_are_named(self, scale, shift, message):
        targets = scene()
        vertices = targets[1].meshes.vertices_list()
        moved = vertices[2] * torch.tensor([1, 1, scale]) + torch.tensor([0, 0, shift])
        meshes = Meshes([*vertices[:2], moved], targets[1].meshes.faces_list())
        context = context_of([targets[0], replace(targets[1], meshes=meshes)])
        for head in (_head(DepthHead, hidden=8), _voxel_head(), _mesh_head(sphere_level=0)):
            regions = regions_of(context)
            with pytest.raises(InputError, match=message):
                head.losses(head(crop_of(), regions, {}, context), regions, {}, context)

    def test_a_mesh_without_faces_is_named(self):
        """One without vertices too is not annotated."""
        targets = scene()
        meshes = targets[1].meshes
        vertices, faces = meshes.vertices_list(), meshes.faces_list()
        for points, named in ((vertices[2], True), (vertices[2][:0], False)):
            bare = Meshes([*vertices[:2], points], [*faces[:2], faces[2][:0]])
            context = context_of([targets[0], replace(targets[1], meshes=bare)])
            for head in (_head(DepthHead, hidden=8), _voxel_head(), _mesh_head(sphere_level=0)):
                regions = regions_of(context)
                raw = head(crop_of(), regions, {}, context)
                if named:
                    with pytest.raises(InputError, match="image id image 1, object 2: its mesh has vertices but no"):
                        head.losses(raw, regions, {}, context)
                else:
                    assert all(loss.isfinite() for loss in head.losses(raw, regions, {}, context).values())

    def test_an_open_mesh_is_named_and_other_branches_take_it(self):
        targets = scene()
        faces = targets[0].meshes.faces_list()
        opened = Meshes(targets[0].meshes.vertices_list(), [faces[0], faces[1][40:]])
        context = context_of([replace(targets[0], meshes=opened), targets[1]])
        regions, head = regions_of(context), _voxel_head()
        named = r"^image id image 0, object 1: its faces are no closed surface.*voxel_head\.init_args\.truth: voxels$"
        with pytest.raises(InputError, match=named):
            head.losses(head(crop_of(), regions, {}, context), regions, {}, context)
        points = _voxel_head(truth="voxels")
        assert points.losses(points(crop_of(), regions, {}, context), regions, {}, context)["voxel"] > 0
        assert (points.learns_from, head.learns_from) == ("voxels", "meshes")

    def test_an_image_without_its_camera_is_named(self):
        context = context_of(scene())
        context = replace(context, given=[context.given[0], Target()])
        regions = regions_of(context)
        head = _head(DepthHead, hidden=8)
        with pytest.raises(InputError, match="image 1 has no camera"):
            head.losses(head(crop_of(), regions, {}, context), regions, {}, context)
