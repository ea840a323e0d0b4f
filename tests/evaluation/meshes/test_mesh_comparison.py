"""`compare_meshes` against a float64 port, the authors' numbers, and closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_shapes import blob, meshes_of
from protocol_port import THRESHOLDS, compared_meshes, compared_points

from detkit.errors import InputError
from detkit.evaluation import PIXEL2MESH, MeshComparison, MeshProtocol, compare_meshes
from detkit.evaluation.meshes.mesh_comparison import point_metrics
from detkit.ops.meshes import SurfacePoints
from detkit.structures.meshes import Meshes, icosphere

SEEDS = [0, 1, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]
AS_GIVEN = MeshProtocol(longest_edge=None, factor=1.0, thresholds=(0.1, 0.3))
FIXTURE = Path(__file__).parent / "meshrcnn_sampling_metrics.json"


def clouds(seed, pairs=2, points=60):
    random = np.random.default_rng(seed)
    places = random.normal(size=(2, pairs, points, 3)) * 0.5
    normals = random.normal(size=(2, pairs, points, 3))
    return places, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def measured(places, normals):
    counts = torch.full(places.shape[1:2], places.shape[2])
    pairs = zip(torch.from_numpy(places), torch.from_numpy(normals), strict=True)
    sides = [SurfacePoints(own, facing, counts) for own, facing in pairs]
    return point_metrics(*sides, THRESHOLDS)


def square(height=0.0, left=0.0):
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) + torch.tensor([left, 0, height])
    return Meshes([corners], [torch.tensor([[0, 1, 2], [0, 2, 3]])])


def scaled(meshes, factor, offset=(0.0, 0.0, 0.0)):
    return meshes.with_vertices(meshes.vertices * factor + torch.tensor(offset))


class TestPoints:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_are_compared_as_by_the_port(self, seed):
        places, normals = clouds(seed, pairs=3, points=200)
        for row, values in enumerate(measured(places.astype(np.float32), normals.astype(np.float32))):
            expected = compared_points(*((places[side, row], normals[side, row]) for side in (0, 1)))
            assert values[:3] == pytest.approx(list(expected.values())[:3], abs=2e-6)
            precision, recall = values[3:8], values[8:]
            f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
            # A distance may be at a threshold within rounding: one point of 200.
            assert f1 == pytest.approx(list(expected.values())[3:], abs=0.006)

    def test_are_compared_as_by_the_authors(self):
        """See "source" in the file; percent there."""
        names = ["Chamfer-L2", "NormalConsistency", "AbsNormalConsistency"]
        names += [f"{what}@{threshold:f}" for what in ("Precision", "Recall") for threshold in THRESHOLDS]
        for case in json.loads(FIXTURE.read_text())["cases"]:
            values = measured(*clouds(case["seed"])) * ([1] * 3 + [100] * 10)
            expected = np.array([case["numbers"][name] for name in names]).T
            np.testing.assert_allclose(values, expected, atol=2e-5)
            f1 = np.array([case["numbers"][f"F1@{threshold:f}"] for threshold in THRESHOLDS]).T
            shares = values[:, 3:] / 100
            comparison = MeshComparison(*values[:, :3].T, shares[:, :5], shares[:, 5:], np.zeros(len(values), bool))
            np.testing.assert_allclose(100 * comparison.f1, f1, atol=2e-5)


class TestMeshes:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_are_compared_as_by_the_port(self, seed):
        """Both draw points of their own: numbers agree within six standard deviations of the port's."""
        random = np.random.default_rng(seed)
        true = blob(random)
        predicted = (true[0] * random.uniform(0.9, 1.1, 3) + 0.01, true[1])
        trials = [compared_meshes(predicted, true, 1500, random) for _ in range(10)]
        comparison = compare_meshes(meshes_of([predicted]), meshes_of([true]), samples=1500, seeds=[seed])
        ours = [comparison.chamfer, comparison.normal_consistency, comparison.abs_normal_consistency, *comparison.f1.T]
        for name, value in zip(trials[0], ours, strict=True):
            values = np.array([trial[name] for trial in trials])
            assert float(value[0]) == pytest.approx(values.mean(), abs=6 * values.std(ddof=1) + 1e-4), name

    def test_concentric_spheres(self):
        """A point lies at the difference of the radii from the other sphere, and the nearest of N points beside it: in
        the mean over random points at the squared angle 4 / N."""
        small, large, number = 1.0, 1.2, 4000
        sphere = icosphere(5)
        comparison = compare_meshes(scaled(sphere, small), scaled(sphere, large), AS_GIVEN, samples=number)
        expected = 2 * (large - small) ** 2 + 2 * small * large * 4 / number
        assert comparison.chamfer[0] == pytest.approx(expected, rel=0.01)
        assert comparison.f1.tolist() == [[0, 1]]
        assert comparison.normal_consistency[0] == pytest.approx(1, abs=0.003)
        inside_out = sphere.topology.faces.flip(1)
        flipped = Meshes([sphere.vertices], [inside_out])
        turned = compare_meshes(flipped, sphere, AS_GIVEN, samples=number)
        assert turned.normal_consistency[0] == pytest.approx(-1, abs=0.003)
        assert turned.abs_normal_consistency[0] == pytest.approx(1, abs=0.003)

    def test_a_plane_beside_a_plane(self):
        """The longest edge becomes 10, so that 0.025 becomes 0.25."""
        comparison = compare_meshes(square(0.025), square(), samples=4000)
        beside = 2 * 100 / (np.pi * 4000)  # the squared distances in the plane, of both ways
        assert comparison.chamfer[0] == pytest.approx(2 * 0.25**2 + beside, rel=0.05)
        assert comparison.f1[0] == pytest.approx([0, 0, 0.94, 1, 1], abs=0.03)
        assert comparison.f1[0, 3:] == pytest.approx(1, abs=1e-3)

    def test_half_of_what_is_there(self):
        both = Meshes.cat([square(), square(left=4.0)])
        true = Meshes([both.vertices], [both.faces])
        comparison = compare_meshes(square(), true, samples=4000)
        assert comparison.precision[0, -1] == pytest.approx(1, abs=1e-3)
        assert comparison.recall[0, -1] == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)
        recall = comparison.recall[0, -1]
        assert comparison.f1[0, -1] == pytest.approx(2 * recall / (1 + recall), abs=1e-3)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_scale_and_distance_from_the_camera_do_not_matter(self, seed):
        random = np.random.default_rng(seed)
        true, predicted = meshes_of([blob(random)]), meshes_of([blob(random)])
        one = compare_meshes(predicted, true, samples=500)
        factor, offset = 0.037, (3.0, -2.0, 41.0)
        double = [scaled(meshes.to(dtype=torch.float64), factor, offset) for meshes in (predicted, true)]
        other = compare_meshes(*double, samples=500)
        for name in ("chamfer", "normal_consistency", "f1"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=3e-3, err_msg=name)
        assert one.chamfer != compare_meshes(scaled(predicted, 1.1), true, samples=500).chamfer

    def test_pixel2mesh_multiplies_both(self):
        """A distance of 0.02 becomes 0.0114: within the root of 2e-4, not within that of 1e-4."""
        sphere = icosphere(3)
        number = 300
        true = Meshes([sphere.vertices[sphere.faces].reshape(-1, 3) * 1e-3], [torch.arange(3 * 1280).view(-1, 3)])
        moved = scaled(true, 1.0, (0.02, 0, 0))
        shares = compare_meshes(moved, true, PIXEL2MESH, samples=number).f1[0]
        assert PIXEL2MESH.thresholds == pytest.approx((0.01, 0.0141421), abs=1e-6)
        assert shares[0] == 0
        assert shares[1] == 1

    def test_without_faces(self):
        predicted = meshes_of([None, blob(np.random.default_rng(0)), None])
        true = meshes_of([blob(np.random.default_rng(seed)) for seed in range(3)])
        comparison = compare_meshes(predicted, true, samples=100)
        assert comparison.is_empty.tolist() == [True, False, True]
        for values in (comparison.chamfer, comparison.normal_consistency, comparison.abs_normal_consistency):
            assert np.isnan(values).tolist() == [True, False, True]
        for values in (comparison.f1, comparison.precision, comparison.recall):
            assert (values[[0, 2]] == 0).all()
            assert (values[1] > 0).any()
        nothing = compare_meshes(meshes_of([None]), true[0], samples=100)
        assert nothing.is_empty.all()
        assert compare_meshes(Meshes([], []), Meshes([], [])).f1.shape == (0, 5)

    def test_a_pair_does_not_depend_on_the_others(self, monkeypatch):
        random = np.random.default_rng(3)
        true, predicted = (meshes_of([blob(random) for _ in range(5)]) for _ in "ab")
        seeds = [9, 8, 7, 6, 5]
        whole = compare_meshes(predicted, true, samples=200, seeds=seeds)
        monkeypatch.setattr("detkit.evaluation.meshes.mesh_comparison.BLOCK", 2)
        blocks = compare_meshes(predicted, true, samples=200, seeds=seeds)
        alone = compare_meshes(predicted[3], true[3], samples=200, seeds=seeds[3:4])
        for name in ("chamfer", "normal_consistency", "abs_normal_consistency", "precision", "recall"):
            np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), atol=1e-6)
            np.testing.assert_allclose(getattr(alone, name), getattr(whole, name)[3:4], atol=1e-6)
        other = compare_meshes(predicted, true, samples=200, seeds=[1] * 5)
        assert (other.chamfer != whole.chamfer).all()

    def test_half_precision_is_computed_in_float32(self):
        true = meshes_of([blob(np.random.default_rng(4))])
        predicted = scaled(true, 1.05).to(dtype=torch.float16)
        half = compare_meshes(predicted, true, samples=300)
        full = compare_meshes(predicted.to(dtype=torch.float32), true, samples=300)
        assert half.chamfer == pytest.approx(full.chamfer)


@pytest.mark.parametrize(
    ("predicted", "true", "options", "message"),
    [
        (square(), Meshes.cat([square(), square()]), {}, "1 predicted meshes, 2 true ones and 2 seeds"),
        (square(), square(), {"seeds": [1, 2]}, "1 predicted meshes, 1 true ones and 2 seeds"),
        (square(), meshes_of([None]), {}, "true mesh 0 has no faces, and so no surface"),
        (square(), scaled(square(), 0.0), {}, "true mesh 0 is a single point, which gives no scale"),
        (scaled(square(), float("nan")), square(), {}, "predicted mesh 0 has a vertex that is not finite; look for"),
        (square(), scaled(square(), float("inf")), {}, "true mesh 0 has a vertex that is not finite; correct its file"),
        (square(), square(), {"samples": 0}, "samples is 0; draw at least 1"),
    ],
)
def test_what_cannot_be_compared(predicted, true, options, message):
    with pytest.raises(InputError, match=message):
        compare_meshes(predicted, true, **options)
