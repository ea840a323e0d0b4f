"""The task of models that answer with the shape of an image's one object."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.evaluation import SingleMeshEvaluator
from detkit.heads import Context, ImageVoxelHead
from detkit.mesh_files import read_mesh
from detkit.models import ShapeNetMeshRCNN
from detkit.preprocess import IMAGENET_MEAN, IMAGENET_STD, Stretch
from detkit.structures import Category, Meshes, ObjectShape, Target
from detkit.structures.meshes import icosphere
from detkit.tasks import Reconstruction, task_of
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.testing import check_task

CATEGORIES = [Category(1, "ball"), Category(2, "box")]
CAMERA = torch.tensor([[70.0, 0, 32], [0, 70, 32], [0, 0, 1]])
IMAGE = np.full((64, 64, 3), 40, np.uint8)


def ball(x=0.0, radius=0.3):
    sphere = icosphere(2)
    return sphere.with_vertices(sphere.vertices * radius + torch.tensor([x, 0.0, 1.4]))


def target(**fields):
    return Target(image_label=0, image_id=3, **({"meshes": ball(), "camera": CAMERA} | fields))


def test_it_keeps_the_contract_of_tasks():
    answer = ObjectShape(ball(), CAMERA, torch.rand(1, 4, 4, 4), torch.tensor([1.0, 2.0]))
    check_task(Reconstruction(), IMAGE, answer, CATEGORIES, target())
    task = task_of(ShapeNetMeshRCNN)
    assert isinstance(task, Reconstruction)
    assert task.evaluators == (SingleMeshEvaluator,)


def test_results_are_the_size_of_the_mesh_and_its_file(tmp_path):
    task, answer = Reconstruction(), ObjectShape(ball(), CAMERA)
    (entry,) = task.results(answer, CATEGORIES)
    assert (entry["vertices"], entry["faces"]) == (162, 320)
    assert np.allclose(entry["bounds"], [[-0.3, -0.3, 1.1], [0.3, 0.3, 1.7]], atol=0.01)
    assert entry["camera"] == CAMERA.tolist()
    (tmp_path / "mesh.obj").write_bytes(task.answer_file("mesh.obj", answer, CATEGORIES))
    read = read_mesh(tmp_path / "mesh.obj")
    upright = torch.tensor([1.0, -1.0, -1.0])  # viewers have y up and z towards them
    assert torch.equal(read.vertices, answer.meshes.vertices * upright)
    assert torch.equal(read.faces, answer.meshes.faces)
    empty = ObjectShape(Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3, dtype=torch.int64)]), CAMERA)
    assert task.results(empty, CATEGORIES)[0]["bounds"] is None


def test_the_mesh_is_drawn_where_the_camera_sees_it():
    """A ball of radius r at distance d has an outline of radius f r / sqrt(d^2 - r^2) pixels."""
    task, answer = Reconstruction(), ObjectShape(ball(0.2), CAMERA)
    y, x = np.mgrid[:64, :64] + 0.5
    for size, drawn in (
        (1, task.draw(IMAGE, answer, CATEGORIES)),
        (1, task.draw_truth(IMAGE, target(meshes=ball(0.2)), CATEGORIES)),
        (1, answer.of_image(IMAGE).plot()),
        (2, task.draw(IMAGE.repeat(2, 0).repeat(2, 1), task.resized(answer, (64, 64), (128, 128)), CATEGORIES)),
    ):
        covered = (drawn != 40).any(axis=-1)[size // 2 :: size, size // 2 :: size]
        radius, center = 70 * 0.3 / (1.4**2 - 0.3**2) ** 0.5, 32 + 70 * 0.2 / 1.4
        distance = np.hypot(x - center, y - 32)
        assert covered[distance < radius - 2].all()
        assert not covered[distance > radius + 3].any()
    unknown = task.draw_truth(IMAGE, target(camera=None), CATEGORIES)
    assert np.array_equal(unknown, IMAGE)
    assert unknown is not IMAGE


def test_the_truth_is_recovered_by_its_like_alone():
    task, truth = Reconstruction(), target()
    assert task.truth(truth).meshes is truth.meshes
    assert task.truth(target(camera=None)) is None
    assert task.truth(target(meshes=None)) is None
    overlaps = [task.recovered(truth, ObjectShape(one, CAMERA)).overlaps for one in (ball(), ball(0.06), ball(2.0))]
    assert overlaps[0] == 1
    assert 0.3 < overlaps[1] < 0.999
    assert overlaps[2] == 0
    assert len(task.recovered(target(meshes=None), ObjectShape(ball(), CAMERA))) == 0


def test_data_without_meshes_is_refused():
    packed = SimpleNamespace(columns={"image_label": None})
    dataset = SimpleNamespace(packed_annotations=packed, annotations_path="a.json", has_image_labels=True)
    model = ShapeNetMeshRCNN("resnet18", mesh_head=None)
    with pytest.raises(InputError, match=r"a\.json has no meshes, but the ShapeNetMeshRCNN learns the shape"):
        Reconstruction().check_data(model, SimpleNamespace(train_dataset=dataset))
    packed.columns["meshes"] = None
    Reconstruction().check_data(model, SimpleNamespace(train_dataset=dataset))


@torch.no_grad()
def test_outputs_of_a_graph_are_the_answers_without_refinement():
    torch.manual_seed(0)
    model = ShapeNetMeshRCNN(
        "resnet18",
        partial(ImageVoxelHead, voxels=8, channels=8),
        preprocess=Stretch((64, 64), IMAGENET_MEAN, IMAGENET_STD),
    ).eval()
    model.voxel_head.logits.weight.mul_(100)
    model.answer_as_graph_()
    task = Reconstruction()
    batch = model.preprocess([torch.from_numpy(IMAGE).permute(2, 0, 1), torch.rand(3, 40, 60)])
    context = Context(batch)
    raw = model.heads(model.features(batch), context)
    outputs = model.decode_padded(raw, context)
    assert outputs.keys() == task.export(model).keys()
    assert task.outputs_differ(outputs, outputs, Tolerance(1e-3, 0.0)) is None
    assert (
        task.outputs_differ({"voxels": outputs["voxels"] + 0.1}, outputs, Tolerance(1e-3, 0.0))
        == "voxels differs by 0.1"
    )
    expected, given = model.decode(raw, context), task.exported_answers(model, outputs, batch)
    same, other = task.differences(CATEGORIES), task.differences(CATEGORIES)
    for number, (one, two) in enumerate(zip(expected, given, strict=True)):
        same.add(number, (64, 64), one, two)
        voxels = two.voxels.clone()
        voxels[0, 1, 2, 3] += 0.25
        other.add(number, (64, 64), one, ObjectShape(ball(), two.camera, voxels))
    assert same.result().agree
    result = other.result()
    assert not result.agree
    (largest,) = result.largest
    assert largest.size == pytest.approx(0.25, rel=1e-4)
    assert "at (1, 2, 3)" in largest.where
    assert (largest.beyond, result.counts) == (2, {"images": 2, "with another mesh": 2})
