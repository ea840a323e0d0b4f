"""Mesh R-CNN for images of one object: its forms, what they answer, and that they learn."""

from functools import partial

import pytest
import torch

import detkit
from detkit.errors import InputError
from detkit.heads import Context, ImageMeshHead, ImageVoxelHead
from detkit.models import ShapeNetMeshRCNN
from detkit.preprocess import IMAGENET_MEAN, IMAGENET_STD, Stretch
from detkit.rendering import render
from detkit.structures import ObjectShape, Target
from detkit.structures.meshes import icosphere

VOXELS = partial(ImageVoxelHead, voxels=12, channels=8, truth="meshes")
MESH = partial(ImageMeshHead, channels=32, samples=300)
FORMS = {
    "mesh": {"voxel_head": VOXELS, "mesh_head": MESH},
    "voxels": {"voxel_head": VOXELS, "mesh_head": None},
    "sphere": {"voxel_head": None, "mesh_head": MESH, "sphere_level": 2},
    "pixel2mesh": {"voxel_head": None, "mesh_head": partial(MESH, subdivide=True), "sphere_level": 1},
}
CAMERA = torch.tensor([[70.0, 0, 32], [0, 70, 32], [0, 0, 1]])


def small(form="mesh", **arguments):
    torch.manual_seed(0)
    preprocess = Stretch((64, 64), IMAGENET_MEAN, IMAGENET_STD)
    return ShapeNetMeshRCNN("resnet18", **FORMS[form], preprocess=preprocess, **arguments)


def ball(x=0.0, y=0.0, z=1.3, radius=0.3):
    sphere = icosphere(2)
    return sphere.with_vertices(sphere.vertices * radius + torch.tensor([x, y, z]))


def drawn(*balls):
    """Images of balls, and their targets."""
    images = [render(one, CAMERA, (64, 64), background=(0.0, 0.0, 0.0)).image for one in balls]
    return images, [Target(meshes=one, camera=CAMERA, image_id=number) for number, one in enumerate(balls)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_losses_of_its_heads_and_answers_with_a_shape(form):
    model = small(form)
    images, targets = drawn(ball(), ball(0.2, 0.1))
    losses = model(images, targets)
    meshes = {"mesh.chamfer", "mesh.normals", "mesh.edge"} if form != "voxels" else set()
    assert losses.keys() == meshes | ({"voxel"} if form in ("mesh", "voxels") else set())
    assert losses.keys() == model(images, [Target(), Target()]).keys()
    torch.stack(list(losses.values())).sum().backward()
    assert all(one.grad is not None for one in model.parameters())
    if meshes:
        assert losses["mesh.normals"] == 0
    answers = model.predict([images[0], torch.zeros(3, 50, 100)])
    assert all(isinstance(one, ObjectShape) for one in answers)
    for answer, (height, width) in zip(answers, ((64, 64), (50, 100)), strict=True):
        assert answer.camera[:2, 2].tolist() == [width / 2, height / 2]
        assert answer.camera[0, 0].item() == pytest.approx(35 / 32 * width)
        assert answer.camera[1, 1].item() == pytest.approx(35 / 32 * width)  # its pixels are square
        assert (answer.voxels is None) == (form in ("sphere", "pixel2mesh"))
    counts = {"sphere": 162, "pixel2mesh": 642}
    if form in counts:
        assert len(answers[0].meshes.vertices) == counts[form]


def test_the_weights_of_all_losses_but_those_of_stages_are_as_published():
    """Over the stages the authors take the mean; an object of one stage then has the losses of a plain chamfer."""
    images, targets = drawn(ball())
    ones = {"mesh.normals": 1.0, "mesh.edge": 1.0}
    for form in ("mesh", "sphere"):
        model = small(form, loss_weights=ones)
        default = small(form)
        given, plain = (one(images, targets, generator=torch.Generator().manual_seed(1)) for one in (default, model))
        assert given["mesh.edge"].item() == pytest.approx(0.2 * plain["mesh.edge"].item(), rel=1e-5)
        assert given["mesh.chamfer"].item() == pytest.approx(plain["mesh.chamfer"].item(), rel=1e-5)
        # An untrained stage moves nothing, so that each has the loss of the first.
        single = small(form, loss_weights=ones)
        single.mesh_head.refinement.stages = single.mesh_head.refinement.stages[:1]
        alone = single(images, targets, generator=torch.Generator().manual_seed(1))
        assert alone["mesh.edge"].item() == pytest.approx(plain["mesh.edge"].item(), rel=1e-5)


def test_voxels_alone_are_learned_from_icosahedra():
    model = small()
    images, targets = drawn(ball(), ball())
    context = model.context(images, targets)
    features = model.features(context.batch)
    assert len(model.heads(features, context).meshes[0].vertices) > 500
    model.loss_weights = {"mesh": 0.0}
    raw = model.heads(features, context)
    assert [len(one.vertices) for one in raw.meshes] == [24] * 4
    assert len(model.heads(features, Context(context.batch)).meshes[0].vertices) > 500  # answers are refined
    losses = model(images, targets)
    assert losses["voxel"] > 0
    assert {name: loss.item() for name, loss in losses.items() if name != "voxel"} == {
        "mesh.chamfer": 0, "mesh.normals": 0, "mesh.edge": 0,
    }  # fmt: skip


@torch.no_grad()
def test_true_voxels_are_answered_where_the_object_is():
    """Logits of the true cells give the mesh that covers the pixels of the object, around its place."""
    model = small("voxels").eval()
    images, targets = drawn(ball(0.2, -0.1, 1.4))
    model.voxel_head = ImageVoxelHead(512, voxels=40, channels=8, truth="meshes")
    context = model.context(images, targets)
    raw = model.heads(model.features(context.batch), context)
    truth = model.voxel_head._true_voxels(context.targets, [0], raw.views)
    logits = torch.where(truth, 9.0, -9.0)
    (answer,) = model.shapes_of_voxels(logits.sigmoid(), context)
    assert answer.camera.tolist() == CAMERA.tolist()
    assert ((answer.meshes.vertices - torch.tensor([0.2, -0.1, 1.4])).norm(dim=1) - 0.3).abs().max() < 0.1
    covered = render(answer.meshes, answer.camera, (64, 64)).masks(1)[0]
    expected = render(targets[0].meshes, CAMERA, (64, 64)).masks(1)[0]
    assert (covered & expected).sum() / (covered | expected).sum() > 0.8
    assert answer.meshes.is_closed().all()


def test_the_camera_is_asked_for_where_the_focal_length_is_unknown():
    model = small(focal_length=None)
    images, _ = drawn(ball())
    assert model.asks_for == {"camera"}
    with pytest.raises(InputError, match="asks for camera"):
        model.predict(images)
    (answer,) = model.predict(images, given=[Target(camera=CAMERA)])
    torch.testing.assert_close(answer.camera, CAMERA)
    assert small().asks_for == frozenset()
    assert small().learns_from == {"camera", "meshes"}
    assert small("sphere").learns_from == {"camera", "meshes"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel_head": None, "mesh_head": None}, "needs a voxel_head, a mesh_head or both"),
        ({"voxel_head": None}, "begin as voxels or as spheres: give voxel_head or sphere_level"),
        ({"sphere_level": 2}, "begin as voxels or as spheres: give voxel_head or sphere_level"),
        ({"focal_length": 0.0}, "focal_length is 0.0; give a positive number"),
        ({"depth_range": (2.0, 1.0)}, r"depth_range is \(2.0, 1.0\); give two positive depths"),
        ({"depth_range": (0.0, 1.0)}, "give two positive depths"),
    ],
)
def test_forms_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ShapeNetMeshRCNN("resnet18", **arguments)


def test_only_voxels_are_exported():
    model = small().eval()
    images, _ = drawn(ball())
    context = model.context(images)
    raw = model.heads(model.features(context.batch), context)
    assert model.left_out_of_graphs == "the refinement of meshes"
    (refined,) = model.decode(raw, context)
    model.answer_as_graph_()
    assert model.left_out_of_graphs == ""
    raw = model.heads(model.features(context.batch), context)
    outputs = model.decode_padded(raw, context)
    (given,), (own,) = model.shapes_of_voxels(outputs["voxels"], context), model.decode(raw, context)
    torch.testing.assert_close(given.meshes.vertices, own.meshes.vertices)
    assert torch.equal(given.voxels, refined.voxels)
    sphere = small("sphere").eval()
    context = sphere.context(images)
    with pytest.raises(InputError, match="without a voxel head cannot be exported"):
        sphere.decode_padded(sphere.heads(sphere.features(context.batch), context), context)


@pytest.mark.slow
def test_an_exported_file_has_the_voxels_of_the_model(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX files: pip install detkit[onnx]")
    model = small().eval()
    with torch.no_grad():
        model.voxel_head.logits.weight.mul_(100)
    model.save(tmp_path / "shape.ckpt")
    detkit.export(tmp_path / "shape.ckpt", tmp_path / "shape.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "shape.onnx")
    images, _ = drawn(ball(), ball(0.2, 0.1))
    pixels = torch.stack(images).float() / 255
    given = {one.name: one for one in session.get_inputs()}
    feed = {"images": pixels.numpy()}
    if "sizes" in given:
        feed["sizes"] = torch.tensor([(64, 64)] * 2).numpy()
    (voxels,) = session.run(["voxels"], feed)
    expected = torch.cat([one.voxels for one in model.predict(images)])
    assert expected.std() > 0.01
    torch.testing.assert_close(torch.from_numpy(voxels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "steps", "share"), [("sphere", 20, 0.5), pytest.param("mesh", 60, 0.2, marks=pytest.mark.slow)]
)
def test_it_learns_where_balls_are(form, steps, share):
    """Two balls at other places and distances: the distance from the meshes to them falls to a share."""
    images, targets = drawn(ball(-0.25, 0.1, 1.2), ball(0.3, -0.2, 1.8))
    model = small(form).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    distances, voxels = [], []
    for step in range(steps):
        optimizer.zero_grad()
        losses = model(images, targets, generator=torch.Generator().manual_seed(step))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        distances.append(losses["mesh.chamfer"].item())
        voxels.append(losses["voxel"].item() if form == "mesh" else 0.0)
    assert sum(distances[-4:]) / 4 < share * distances[0], distances
    assert voxels[-1] <= 0.2 * voxels[0]
