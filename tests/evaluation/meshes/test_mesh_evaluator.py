"""`MeshEvaluator` against a float64 port of the protocol, and against the authors' evaluation of Pix3D."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_shapes import CLASSES, Scenes, blob, draw_scenes, meshes_of
from protocol_port import evaluated

from detkit.errors import InputError
from detkit.evaluation import MeshEvaluator, ReportOptions
from detkit.evaluation.meshes.given_meshes import enlarged
from detkit.evaluation.meshes.mesh_evaluation import mesh_numbers
from detkit.evaluation.meshes.mesh_evaluator import AVERAGE_PRECISIONS, RIGHT_F1
from detkit.evaluation.meshes.voxel_iou import voxel_ious
from detkit.ops import masks_to_rle
from detkit.ops.meshes import from_box_frustum
from detkit.structures import Category, Detections, Target
from detkit.structures.meshes import Meshes, PointClouds, icosphere
from detkit.tasks import Detection
from detkit.trust.comparison import compare

SEEDS = [0, 1, 2, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]
FIXTURE = Path(__file__).parent / "meshrcnn_pix3d_ap.json"
SAMPLES = 500
SPHERE = icosphere(3)
HALF = torch.tensor([0.5])


def evaluator_of(scenes: Scenes, rows=None, **options):
    evaluator = MeshEvaluator(scenes.annotations, **{"samples": SAMPLES, **options})
    pairs = list(zip(scenes.targets(), scenes.answers(), strict=True))
    for row in range(len(pairs)) if rows is None else rows:
        evaluator.update([pairs[row][0]], [pairs[row][1]])
    return evaluator


class TestNumbers:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_are_those_of_the_protocol(self, seed):
        """AP is equal, since every F1 is far from 0.5; the means agree as far as points that are drawn allow."""
        scenes = draw_scenes(seed)
        evaluator = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        evaluator.update(scenes.targets(), scenes.answers())
        numbers = evaluator.compute()
        expected = evaluated(scenes.images, CLASSES, SAMPLES, np.random.default_rng(seed))
        assert numbers.keys() >= expected.keys()
        for name in (*AVERAGE_PRECISIONS, "without_faces_per_object"):
            assert numbers[name] == pytest.approx(expected[name], abs=1e-9), name
        for name in expected.keys() - {*AVERAGE_PRECISIONS, "without_faces_per_object"}:
            tolerance = 0.1 * expected[name] + 0.05 if name.startswith("chamfer") else 0.06
            assert numbers[name] == pytest.approx(expected[name], abs=tolerance), name

    def test_are_those_of_the_authors(self):
        """See "source" in the file: `evaluate_for_pix3d`, with one object per image, F1 given, one image left out."""
        content = json.loads(FIXTURE.read_text())
        for case in content["cases"]:
            images = case["images"]
            annotations = {
                "images": [{"id": k} for k in range(len(images))],
                "annotations": [],
                "categories": [{"id": k, "name": one} for k, one in enumerate(content["classes"])],
            }
            evaluator = MeshEvaluator(annotations)
            kept = [with_given_f1(evaluator, image) for k, image in enumerate(images) if k != case["excluded"]]
            numbers = mesh_numbers(evaluator.measures(kept), evaluator.matches(kept))
            for ours, theirs in zip(AVERAGE_PRECISIONS, ("mesh", "mask", "box"), strict=True):
                assert numbers.of_all[ours] == pytest.approx(case["numbers"][f"{theirs}_ap@0.5"], abs=2e-6)
                for k, label in enumerate(content["classes"]):
                    expected = case["numbers"].get(f"{theirs}_ap@0.5 - {label}", -1)
                    assert numbers.by_class[ours][k] == pytest.approx(expected, abs=2e-6)

    def test_the_true_meshes_themselves(self):
        scenes = draw_scenes(5)
        for image in scenes.images:
            image["predicted"] = [perfect(one, 0.9 - 0.1 * k) for k, one in enumerate(image["true"])]
        evaluator = evaluator_of(scenes, samples=2000)
        numbers = evaluator.compute()
        assert [numbers[name] for name in AVERAGE_PRECISIONS] == [1, 1, 1]
        assert numbers["F1_0.5"] == pytest.approx(1, abs=0.01)
        assert numbers["chamfer"] < 0.2
        assert numbers["without_faces"] == 0

    def test_the_truth_of_the_task_is_perfect(self):
        scenes = draw_scenes(6)
        evaluator = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        evaluator.update(scenes.targets(), [Detection().truth(target) for target in scenes.targets()])
        numbers = evaluator.compute()
        assert [numbers[name] for name in AVERAGE_PRECISIONS] == [1, 1, 1]

    def test_two_objects_of_an_image_are_each_covered_once(self):
        scenes = draw_scenes(1, images=1, most_objects=2)
        (image,) = scenes.images
        first, second = image["true"]
        first["label"] = second["label"] = 0
        first["box"], second["box"] = np.array([0.0, 0, 20, 20]), np.array([30.0, 30, 60, 60])
        image["predicted"] = [perfect(first, 0.9), perfect(first, 0.8), perfect(second, 0.7)]
        evaluator = evaluator_of(scenes)
        # Precision at the two objects: 1 of 1, 2 of 3.
        assert evaluator.compute()["AP_mesh"] == pytest.approx(1 / 2 + 2 / 3 / 2)
        row = evaluator.evaluation.per_class()["class 0"]
        assert (row["objects"], row["compared"], row["empty_meshes"]) == (2, 2, 0)

    def test_the_most_certain_of_an_object_gives_its_distances(self):
        scenes = draw_scenes(1, images=1, most_objects=1)
        (image,) = scenes.images
        (true,) = image["true"]
        far = perfect(true, 0.5)
        far["mesh"] = (far["mesh"][0] + 10, far["mesh"][1])
        image["predicted"] = [perfect(true, 0.9), far]
        near_first = evaluator_of(scenes).compute()
        far["score"] = 0.95
        image["predicted"].reverse()
        far_first = evaluator_of(scenes).compute()
        assert near_first["chamfer"] < 1 < far_first["chamfer"]
        assert (near_first["AP_mesh"], far_first["AP_mesh"]) == (1, 0.5)

    def test_meshes_are_in_units_of_the_depth(self):
        """An object twice as large and as far has the same prediction."""
        scenes = draw_scenes(2, images=1, most_objects=1)
        (image,) = scenes.images
        image["predicted"] = [perfect(image["true"][0], 0.9)]
        one = evaluator_of(scenes).compute()
        vertices, faces = image["true"][0]["mesh"]
        image["true"][0]["mesh"] = (2 * vertices, faces)
        assert evaluator_of(scenes).compute() == pytest.approx(one, abs=0.01)
        image["true"][0]["mesh"] = (vertices + np.array([0, 0, 3]), faces)  # the prediction is now too large
        assert evaluator_of(scenes).compute()["F1_0.3"] < one["F1_0.3"] - 0.2

    def test_meshes_without_faces_are_counted_and_said(self, caplog):
        scenes = draw_scenes(3, images=2, most_objects=2)
        for image in scenes.images:
            image["predicted"] = [perfect(one, 0.9 - 0.1 * k) for k, one in enumerate(image["true"])]
        scenes.images[0]["predicted"][0]["mesh"] = None
        evaluator = evaluator_of(scenes)
        numbers = evaluator.compute()
        compared = sum(len(image["true"]) for image in scenes.images)
        assert numbers["without_faces_per_object"] == 1 / compared
        assert 0 < numbers["chamfer"] < 1
        assert numbers["F1_0.5_per_object"] == pytest.approx((compared - 1) / compared, abs=0.02)
        assert sum(row["empty_meshes"] for row in evaluator.evaluation.per_class().values()) == 1
        assert f"mesh: 1 of {compared} compared meshes have no faces: their F1 is 0" in caplog.text

    def test_nothing_detected_and_nothing_there(self):
        scenes = draw_scenes(4)
        for image in scenes.images:
            image["predicted"] = []
        numbers = evaluator_of(scenes).compute()
        assert [numbers[name] for name in AVERAGE_PRECISIONS] == [0, 0, 0]
        bare = MeshEvaluator(scenes.annotations)
        bare.update(scenes.targets(), [Detections.empty()] * len(scenes.images))
        assert bare.compute() == numbers
        assert numbers["chamfer"] == numbers["F1_0.3"] == -1
        assert set(MeshEvaluator(scenes.annotations).compute().values()) == {-1}
        for image in scenes.images:
            image["true"] = []
        assert set(evaluator_of(scenes).compute().values()) == {-1}


class TestImages:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_order_batches_and_processes_do_not_matter(self, seed):
        scenes = draw_scenes(seed)
        whole = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        whole.update(scenes.targets(), scenes.answers())
        parts = [evaluator_of(scenes, rows) for rows in ((4, 0, 2), (2, 3, 1))]
        parts[0].merge([pickle.loads(pickle.dumps(parts[1].state()))])
        assert parts[0].compute() == pytest.approx(whole.compute(), abs=1e-6)

    def test_the_seed_changes_the_points_alone(self):
        scenes = draw_scenes(0)
        one, other = (evaluator_of(scenes, seed=seed).compute() for seed in (0, 1))
        assert one["chamfer"] != other["chamfer"]
        assert one["AP_mesh"] == other["AP_mesh"]

    def test_those_without_meshes_are_left_out(self, caplog):
        scenes = draw_scenes(0)
        evaluator = evaluator_of(scenes, range(4))
        numbers = evaluator.compute()
        evaluator.update([replace(scenes.targets()[4], meshes=None)], [scenes.answers()[4]])
        assert evaluator.compute() == numbers
        assert "mesh: 1 of 5 images have no meshes, image 4 first: they are left out" in caplog.text

    def test_crowds_are_no_objects(self):
        scenes = draw_scenes(0, images=1)
        (target,), (answer,) = scenes.targets(), scenes.answers()
        crowds = torch.arange(len(target)) == 1
        evaluator = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        evaluator.update([replace(target, iscrowd=crowds)], [answer])
        other = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        other.update([target[~crowds]], [answer])
        assert evaluator.compute() == other.compute()
        assert sum(row["objects"] for row in evaluator.evaluation.per_class().values()) == len(target) - 1

    def test_masks_may_be_run_lengths_or_missing(self):
        scenes = draw_scenes(0)
        expected = evaluator_of(scenes).compute()
        encoded = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        targets = [replace(one, masks=masks_to_rle(one.masks)) for one in scenes.targets()]
        encoded.update(targets, [replace(one, masks=masks_to_rle(one.masks)) for one in scenes.answers()])
        assert encoded.compute() == expected
        without = MeshEvaluator(scenes.annotations, samples=SAMPLES)
        without.update(scenes.targets(), [replace(one, masks=None) for one in scenes.answers()])
        assert without.compute() == expected | {"AP50_mask": -1}

    def test_a_model_has_its_own_order_of_classes(self):
        scenes = draw_scenes(1)
        expected = evaluator_of(scenes).compute()
        names = [Category(9, "N/A"), *(Category(k, f"class {k}") for k in (2, 0, 3, 1))]
        label_of = torch.tensor([2, 4, 1, 3])
        evaluator = MeshEvaluator(scenes.annotations, categories=names, samples=SAMPLES)
        answers = [replace(one, labels=label_of[one.labels]) for one in scenes.answers()]
        evaluator.update(scenes.targets(), answers)
        assert evaluator.compute() == pytest.approx(expected)
        unused = [replace(one, labels=torch.zeros_like(one.labels)) for one in answers]
        evaluator.update(scenes.targets(), unused)
        assert evaluator.compute()["AP50_box"] == 0


class TestVoxels:
    """A ball before the camera, in boxes that show all of it or half."""

    CAMERA = torch.tensor([[60.0, 0, 32], [0, 60, 32], [0, 0, 1]])

    def evaluated(self, occupied, threshold=0.2, **fields):
        sphere = SPHERE.with_vertices(0.5 * SPHERE.vertices + torch.tensor([0.0, 0, 2]))
        boxes = torch.tensor([[16.0, 16, 48, 48]])
        fields = {"camera": self.CAMERA, "meshes": sphere, **fields}
        target = Target(boxes, torch.tensor([1]), image_id=0, **fields)
        answer = Detections(
            boxes, torch.ones(1), torch.tensor([1]), voxels=occupied[None].float(), meshes=enlarged(sphere, HALF)
        )
        evaluator = MeshEvaluator(Scenes([{}]).annotations, samples=100, voxel_threshold=threshold)
        evaluator.update([target], [answer])
        return evaluator.compute()["voxel_iou"]

    def ball(self):
        """The cells whose center lies in the ball, by their corners in the camera frame; the mesh is a bit smaller."""
        centers = 2 * (torch.arange(16) + 0.5) / 15 - 1
        z, y, x = torch.meshgrid(centers, centers, centers, indexing="ij")
        depth = 1 / (1 / 1.5 + (z + 1) / 2 * (1 / 2.5 - 1 / 1.5))
        points = torch.stack([16 * x * depth / 60, 16 * y * depth / 60, depth - 2])
        return points.norm(dim=0) < 0.5 * 0.985

    def test_of_the_ball_itself(self):
        assert self.evaluated(self.ball()) > 0.95
        half = self.ball()
        half[:, :, 8:] = False
        assert self.evaluated(half) == pytest.approx(0.5, abs=0.08)
        assert self.evaluated(~self.ball()) < 0.05
        assert self.evaluated(0.3 * self.ball()) > 0.95
        assert self.evaluated(0.3 * self.ball(), threshold=0.31) == 0
        assert self.evaluated(self.ball(), threshold=None) == -1

    def test_points_are_taken_instead_of_open_meshes(self):
        places = from_box_frustum(
            (2 * (self.ball().nonzero().flip(1) + 0.5) / 15 - 1).float(),
            self.ball().sum()[None],
            torch.tensor([[16.0, 16, 48, 48]]),
            self.CAMERA[None],
            torch.tensor([[1.5, 2.5]]),
        )
        ends = torch.tensor([[9.0, 9, 1.5], [9, 9, 2.5]])  # outside of the box: they set the depth
        points = PointClouds([torch.cat([places, ends])])
        assert self.evaluated(self.ball(), voxels=points) == 1
        opened = Meshes([SPHERE.vertices / 2 + torch.tensor([0.0, 0, 2])], [SPHERE.faces[8:]])
        assert self.evaluated(self.ball(), voxels=points, meshes=opened) == 1
        with pytest.raises(InputError, match=r"image 0: mesh 0: its faces are no closed surface.*set voxel_threshold"):
            self.evaluated(self.ball(), meshes=opened)

    def test_without_a_camera(self):
        with pytest.raises(InputError, match="image 0: its target has no camera to make true voxels with; to evaluate"):
            self.evaluated(self.ball(), camera=None)

    @pytest.mark.parametrize("seed", [0, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")])
    def test_iou_is_that_of_sets(self, seed):
        random = np.random.default_rng(seed)
        one, other = random.random((2, 5, 3, 4, 2)) < random.random((2, 5, 1, 1, 1))
        one[0] = other[0] = False
        expected = [
            len({*map(tuple, np.argwhere(a))} & {*map(tuple, np.argwhere(b))}) / max((a | b).sum(), 1)
            for a, b in zip(one, other, strict=True)
        ]
        both = voxel_ious(torch.from_numpy(one), torch.from_numpy(other))
        assert both[0] == 1
        assert both[1:] == pytest.approx(expected[1:])


class TestWeighted:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_images_give_the_numbers_of_repeated_ones(self, seed):
        scenes = draw_scenes(seed)
        weights = np.array([2, 0, 1, 3, 1])
        weighting = evaluator_of(scenes).image_weighting()
        once = weighting.numbers(np.ones(5), by_class=True)
        evaluator = evaluator_of(scenes)
        assert once.of_all == pytest.approx(evaluator.compute(), abs=1e-12)
        for k, row in enumerate(evaluator.evaluation.per_class().values()):
            assert {name: one[k] for name, one in once.by_class.items()} == pytest.approx(
                {name: value for name, value in row.items() if name in once.by_class}, abs=1e-12
            )
        repeated = evaluator_of(scenes)
        kept = [repeated.kept[row] for row, weight in enumerate(weights) for _ in range(weight)]
        expected = mesh_numbers(repeated.measures(kept), repeated.matches(kept)).of_all
        assert weighting.numbers(weights.astype(float)).of_all == pytest.approx(expected, abs=1e-12)

    def test_report_has_intervals_and_units(self):
        evaluator = evaluator_of(draw_scenes(0))
        evaluator.compute()
        report = evaluator.report(evaluator.evaluation, ReportOptions(per_class=True, bootstrap=30))
        numbers, classes = report.tables
        rows = dict(zip(numbers.columns[0].cells, numbers.columns[1].cells, strict=True))
        metrics = evaluator.evaluation.metrics
        assert rows["AP_mesh %"] == f"{100 * metrics['AP_mesh']:.1f}"
        assert rows["chamfer"] == f"{metrics['chamfer']:.3f}"
        headings = [column.header for column in classes.columns]
        assert {"class", "F1_0.3 %", "chamfer", "objects", "compared", "empty_meshes"} <= set(headings)
        assert list(classes.columns[0].cells) == [f"class {k}" for k in range(CLASSES)]
        for name, (low, high) in report.numbers["intervals"].items():
            assert low <= metrics[name] <= high, name
        assert json.loads(json.dumps(report.numbers))["per_class"]["class 3"]["objects"] == 0

    def test_are_compared(self):
        scenes = draw_scenes(0)
        better = evaluator_of(scenes)
        for image in scenes.images:
            image["predicted"] = image["predicted"][:1]
        comparison = compare(better, evaluator_of(scenes), samples=20)
        assert comparison.head.first == better.compute()["AP_mesh"]
        assert comparison.scales["chamfer"] == 1
        assert compare(better, better, samples=20).is_equal

    def test_without_images(self):
        with pytest.raises(InputError, match="no images with a meshes and an answer"):
            MeshEvaluator(draw_scenes(0).annotations).image_weighting()


def changed(**fields):
    return lambda target, answer: (replace(target, **fields), answer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, a: (t, replace(a, meshes=None)),
            "answer for image 0 is a Detections without meshes: evaluate a model",
        ),
        (changed(boxes=None, masks=None), "image 0: its target has meshes, but no boxes or no labels"),
        (
            lambda t, a: (replace(t, labels=t.labels + 4), a),
            r"image 0: the target has the label \d, but there are only 4",
        ),
        (
            lambda t, a: (t, replace(a, labels=a.labels + 4)),
            r"image 0: the answer has the label \d, but there are only",
        ),
        (lambda t, a: (t, replace(a, scores=a.scores * float("nan"))), "detections of image 0: scores holds a value"),
        (
            lambda t, a: (t, replace(a, masks=a.masks[:, 1:])),
            r"image 0: the masks of the detections are \(63, 64\), those",
        ),
        (
            lambda t, a: (t, replace(a, meshes=a.meshes.with_vertices(a.meshes.vertices / 0))),
            r"image 0: predicted mesh \d has a vertex that is not finite; look for a diverged model",
        ),
        (
            lambda t, a: (replace(t, meshes=meshes_of([None] * len(t))), a),
            "image 0: true mesh 0 has no faces, and so no surface to compare with",
        ),
        (
            lambda t, a: (replace(t, meshes=t.meshes.with_vertices(-t.meshes.vertices)), a),
            r"image 0: the center of true mesh 0 has z -\d.*not in front of the camera",
        ),
        (
            lambda t, a: (
                replace(t, meshes=Meshes(t.meshes.vertices_list(), [0 * f for f in t.meshes.faces_list()])),
                a,
            ),
            "image 0: true mesh 0 has faces without area alone, and so no surface to compare with",
        ),
    ],
)
def test_what_cannot_be_evaluated(change, message):
    scenes = draw_scenes(0, images=1)
    evaluator = MeshEvaluator(scenes.annotations, samples=10)
    target, answer = change(scenes.targets()[0], scenes.answers()[0])
    with pytest.raises(InputError, match=message):
        evaluator.update([target], [answer])


def test_unknown_images_and_samples_are_refused():
    scenes = draw_scenes(0, images=1)
    with pytest.raises(InputError, match="image id 7 is not among the 1 images"):
        MeshEvaluator(scenes.annotations).update([replace(scenes.targets()[0], image_id=7)], scenes.answers())
    with pytest.raises(InputError, match="samples is 0; draw at least 1"):
        MeshEvaluator(scenes.annotations, samples=0)
    with pytest.raises(InputError, match="2 image ids"):
        MeshEvaluator(scenes.annotations).update(scenes.targets() * 2, scenes.answers())


def perfect(true, score):
    vertices, faces = true["mesh"]
    depth = (vertices[:, 2].min() + vertices[:, 2].max()) / 2
    return {**true, "mesh": (vertices / depth, faces), "score": score}


def with_given_f1(evaluator, image):
    """What is kept of an image whose predictions have these F1: meshes carry the number of their prediction."""
    vertices, faces = blob(np.random.default_rng(0))
    depth = 2.0
    true = meshes_of([(vertices - vertices.mean(axis=0) + [0, 0, depth], faces)])
    z = true.vertices[:, 2].aminmax()
    depth = float(z.min + z.max) / 2
    numbered = [torch.full((3, 3), float(row)) for row in range(len(image["scores"]))]
    masks = [np.zeros((40, 40), dtype=bool) for _ in (image["box"], *image["masks"])]
    for mask, (x1, y1, x2, y2) in zip(masks, (image["box"], *image["masks"]), strict=True):
        mask[y1:y2, x1:x2] = True
    target = Target(
        boxes=torch.tensor([image["box"]]).float(),
        labels=torch.tensor([image["label"]]),
        masks=torch.from_numpy(masks[0])[None],
        meshes=true,
        image_id=0,
    )
    answer = Detections(
        boxes=torch.tensor(image["boxes"]).float().reshape(-1, 4),
        scores=torch.tensor(image["scores"]),
        labels=torch.tensor(image["labels"], dtype=torch.int64),
        masks=torch.from_numpy(np.array(masks)[1:]),
        meshes=Meshes(numbered, [torch.tensor([[0, 1, 2]])] * len(numbered)),
    )
    pairs = evaluator.pairs(target, answer)
    rows = np.zeros((len(pairs.true), 9))
    for row, points in zip(rows, pairs.predicted.vertices_list(), strict=True):
        row[RIGHT_F1] = image["f1"][round(float(points[0, 0]) / depth)]
    return pairs.finish(rows)
