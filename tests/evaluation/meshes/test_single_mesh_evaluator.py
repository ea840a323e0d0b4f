"""`SingleMeshEvaluator`: the means of the authors' tables, both protocols, and voxels of the whole image."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_shapes import CLASSES, Scenes, blob, meshes_of

from detkit.errors import InputError
from detkit.evaluation import PIXEL2MESH, ReportOptions, SingleMeshEvaluator, compare_meshes
from detkit.ops.meshes import from_box_frustum
from detkit.structures import Target
from detkit.structures.meshes import Meshes, PointClouds, icosphere

SEEDS = [0, 1, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]
SAMPLES = 300


def drawn(seed, images=7):
    """Annotations, targets with one object, and answers; the first prediction has no faces."""
    random = np.random.default_rng(seed)
    true = [blob(random) for _ in range(images)]
    labels = [0, 1, *random.integers(0, CLASSES - 1, images - 2).tolist()]
    predicted = [None, *((vertices + random.normal(0, 0.02, 3), faces) for vertices, faces in true[1:])]
    targets = [
        Target(labels=torch.tensor([label]), meshes=meshes_of([mesh]), image_id=number)
        for number, (label, mesh) in enumerate(zip(labels, true, strict=True))
    ]
    return Scenes([{}] * images).annotations, targets, [SimpleNamespace(meshes=meshes_of([one])) for one in predicted]


def evaluator_of(annotations, targets, answers, **options):
    evaluator = SingleMeshEvaluator(annotations, **{"samples": SAMPLES, **options})
    evaluator.update(targets, answers)
    return evaluator


@pytest.mark.parametrize("seed", SEEDS)
def test_means_over_classes_and_over_objects(seed):
    """As `print_instances_class_histogram` of the authors sums them up, with the object without faces left out of the
    distances. More points are drawn than for the numbers of `compare_meshes`, so that they agree nearly."""
    annotations, targets, answers = drawn(seed)
    evaluator = evaluator_of(annotations, targets, answers, samples=2000)
    numbers = evaluator.compute()
    labels = np.array([int(target.labels) for target in targets])
    both = [Meshes.cat([one.meshes for one in some]) for some in (answers, targets)]
    comparison = compare_meshes(*both, samples=2000)
    for name, values in (("F1_0.3", comparison.f1[:, 2]), ("chamfer", comparison.chamfer)):
        counted = np.isfinite(values)
        by_class = [values[counted & (labels == k)] for k in range(CLASSES)]
        expected = np.mean([one.mean() for one in by_class if len(one)])
        assert numbers[name] == pytest.approx(expected, rel=0.05)
        assert numbers[f"{name}_per_object"] == pytest.approx(values[counted].mean(), rel=0.05)
        rows = evaluator.evaluation.per_class()
        for k, values_of in enumerate(by_class):
            expected = values_of.mean() if len(values_of) else -1
            assert rows[f"class {k}"][name] == pytest.approx(expected, rel=0.1)
    assert numbers["without_faces_per_object"] == 1 / 7
    assert numbers["voxel_iou"] == -1
    assert [row["objects"] for row in rows.values()] == np.bincount(labels, minlength=CLASSES).tolist()
    assert sum(row["empty_meshes"] for row in rows.values()) == 1


def test_processes_and_order():
    annotations, targets, answers = drawn(2)
    whole = evaluator_of(annotations, targets, answers)
    one = evaluator_of(annotations, targets[4:], answers[4:])
    other = evaluator_of(annotations, targets[:5][::-1], answers[:5][::-1])
    one.merge([pickle.loads(pickle.dumps(other.state()))])
    assert one.compute() == pytest.approx(whole.compute(), abs=1e-6)
    weighting = whole.image_weighting()
    assert weighting.numbers(np.ones(7)).of_all == pytest.approx(whole.compute(), abs=1e-12)


def test_pixel2mesh():
    annotations, targets, answers = drawn(3)
    evaluator = evaluator_of(annotations, targets, answers, protocol="pixel2mesh")
    assert (evaluator.name, evaluator.headline) == ("mesh_pixel2mesh", "F1_0.01")
    numbers = evaluator.compute()
    both = [Meshes.cat([one.meshes for one in some]) for some in (answers, targets)]
    expected = compare_meshes(*both, PIXEL2MESH, samples=SAMPLES)
    assert numbers["F1_0.01414_per_object"] == pytest.approx(expected.f1[:, 1].mean(), abs=0.03)
    assert numbers["chamfer_per_object"] == pytest.approx(np.nanmean(expected.chamfer), rel=0.1)
    with pytest.raises(InputError, match="protocol is 'p2m'; choose one of meshrcnn, pixel2mesh"):
        SingleMeshEvaluator(annotations, protocol="p2m")


def test_report():
    evaluator = evaluator_of(*drawn(4))
    evaluator.compute()
    report = evaluator.report(evaluator.evaluation, ReportOptions(per_class=True, bootstrap=20))
    assert [table.title for table in report.tables] == ["meshes of single objects", "meshes of single objects by class"]
    low, high = report.numbers["intervals"]["chamfer"]
    assert low < report.numbers["chamfer"] < high


class TestVoxels:
    CAMERA = torch.tensor([[60.0, 0, 32], [0, 60, 32], [0, 0, 1]])
    DEPTHS = torch.tensor([1.0, 4.0])

    def voxels(self):
        """Cells ``(12, 12, 12)`` whose center lies in a ball at z = 2, and their centers in the camera frame."""
        centers = 2 * (torch.arange(12) + 0.5) / 11 - 1
        z, y, x = torch.meshgrid(centers, centers, centers, indexing="ij")
        grid = torch.stack([x, y, z], dim=-1).view(-1, 3)
        box = torch.tensor([[0.0, 0, 64, 64]])
        points = from_box_frustum(grid, torch.tensor([len(grid)]), box, self.CAMERA[None], self.DEPTHS[None])
        inside = (points - torch.tensor([0.0, 0, 2])).norm(dim=1) < 0.6
        return inside.view(12, 12, 12), points[inside]

    def iou(self, probabilities, size=True, **fields):
        sphere = icosphere(4)
        mesh = sphere.with_vertices(0.6 * sphere.vertices + torch.tensor([0.0, 0, 2]))
        target = Target(labels=torch.tensor([0]), image_id=0, **{"meshes": mesh, **fields})
        annotations = Scenes([{}]).annotations
        if not size:
            annotations["images"] = [{"id": 0}]
        answer = SimpleNamespace(
            meshes=mesh, voxels=probabilities[None].float(), camera=self.CAMERA, depth_range=self.DEPTHS
        )
        return evaluator_of(annotations, [target], [answer], samples=10).compute()["voxel_iou"]

    def test_in_the_frustum_of_the_image(self):
        inside, points = self.voxels()
        assert inside.sum() > 30
        assert self.iou(inside) > 0.9
        assert self.iou(inside, voxels=PointClouds([points])) == 1
        fewer = inside.clone()
        fewer[:, :, 6:] = False
        assert self.iou(fewer, voxels=PointClouds([points])) == pytest.approx(float(fewer.sum() / inside.sum()))
        assert self.iou(0.19 * inside) == 0

    def test_what_is_missing(self):
        inside, _ = self.voxels()
        with pytest.raises(InputError, match="image 0: the annotations state no height and width of it; to evaluate"):
            self.iou(inside, size=False)
        opened = Meshes([icosphere(2).vertices + torch.tensor([0.0, 0, 2])], [icosphere(2).faces[5:]])
        with pytest.raises(InputError, match=r"image 0: mesh 0: its faces are no closed surface"):
            self.iou(inside, meshes=opened)
        around = Meshes([icosphere(2).vertices + torch.tensor([0.0, 0, 0.5])], [icosphere(2).faces])
        with pytest.raises(
            InputError, match=r"image 0: mesh 0: its vertices reach to z = -0\.5, which is not in front of"
        ):
            self.iou(inside, meshes=around)
        with pytest.raises(InputError, match="the answer for image 0: voxels holds a value that is not finite"):
            self.iou(inside / 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, a: (t, SimpleNamespace()), "answer for image 0 is a SimpleNamespace without meshes"),
        (lambda t, a: (t, SimpleNamespace(meshes=Meshes([], []))), "image 0: the answer has 0 meshes; give one, or"),
        (
            lambda t, a: (Target(labels=torch.tensor([0, 0]), meshes=meshes_of([None] * 2), image_id=0), a),
            "image 0: the target has 2 meshes; give one",
        ),
        (lambda t, a: (replace(t, labels=None), a), "image 0: the object has no class; give its label, or"),
        (
            lambda t, a: (replace(t, labels=t.labels + 9), a),
            r"image 0: the target has the label \d+, but",
        ),
        (lambda t, a: (replace(t, meshes=meshes_of([None])), a), "image 0: true mesh 0 has no faces"),
    ],
)
def test_what_cannot_be_evaluated(change, message):
    annotations, targets, answers = drawn(0)
    with pytest.raises(InputError, match=message):
        evaluator_of(annotations, *([one] for one in change(targets[0], answers[0])))


def test_the_class_may_be_that_of_the_image():
    annotations, targets, answers = drawn(0)
    images = [replace(one, labels=None, image_label=int(one.labels)) for one in targets]
    expected = evaluator_of(annotations, targets, answers).compute()
    assert evaluator_of(annotations, images, answers).compute() == expected
    assert evaluator_of(annotations, [replace(images[0], meshes=None)], answers[:1]).compute()["F1_0.3"] == -1
