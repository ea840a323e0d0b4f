"""``detkit predict`` with a Mesh R-CNN: meshes for viewers, turntables, what the results say of both, and cameras."""

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from every_model import MODELS
from PIL import Image

from detkit.backbones import TorchvisionBackbone
from detkit.images import read_image
from detkit.mesh_files import read_gltf_objects, read_obj
from detkit.structures import Category

CATEGORIES = [Category(3, "chair"), Category(5, "table # 2"), Category(9, "vase")]
FOCAL = 60.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a network that is not trained: its voxels are all occupied."""
    torch.manual_seed(0)
    model = MODELS["mesh"](lambda: TorchvisionBackbone("resnet18")).eval()
    model.categories = CATEGORIES
    path = tmp_path_factory.mktemp("mesh") / "mesh.ckpt"
    model.save(path)
    return path


@pytest.fixture
def command(checkpoint, detkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, side in enumerate((40, 60)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, side, 3), 50 + 100 * number, np.uint8))

    def predict(*argv, score="0"):
        return detkit_command(
            "predict", "0.png", "1.png", "--checkpoint", checkpoint, *argv, "--score_threshold", score
        )

    return predict


@pytest.fixture
def entries(command):
    def predicted(*argv, score="0"):
        status, said = command(*argv, "--out", "found", score=score)
        assert status == 0, said
        return json.loads(Path("found/detections.json").read_text())

    return predicted


def test_writes_a_scene_and_a_turntable_for_each_image(entries):
    found = entries("--focal_length", FOCAL)
    assert found
    for name in ("0", "1"):
        own = [entry for entry in found if entry["file_name"] == f"{name}.png"]
        scene = read_gltf_objects(f"found/{name}.meshes.glb")
        assert len(scene) == len(own) > 0
        for mesh, entry in zip([scene[row] for row in range(len(scene))], own, strict=True):
            facts = entry["mesh"]
            assert (len(mesh.vertices), len(mesh.faces)) == (facts["vertices"], facts["faces"])
            assert facts["faces"] > 0
            assert facts["files"] == [f"{name}.meshes.glb", f"{name}.turntable.gif"]
            assert entry["voxels"] == {"size": [6, 6, 6], "files": []}
            low, high = mesh.vertices.aminmax(dim=0)  # y up and z toward the viewer
            bounds = torch.tensor(facts["bounds"])
            torch.testing.assert_close(torch.stack((bounds[0, 0], -bounds[1, 1], -bounds[1, 2])), low)
            torch.testing.assert_close(torch.stack((bounds[1, 0], -bounds[0, 1], -bounds[0, 2])), high)
            assert bounds[:, 2].mean() == pytest.approx(1.2, abs=0.3)  # of cells that reach from -1 to 1.4 in 1 / z
        with Image.open(f"found/{name}.turntable.gif") as turntable:
            assert turntable.n_frames > 8
        given, drawn = read_image(f"{name}.png"), read_image(f"found/{name}.png")
        assert (given != drawn).any(axis=2).mean() > 0.2


def test_names_of_objects_are_those_in_the_results(entries):
    found = entries("--focal_length", FOCAL, "--files", "meshes.glb", "meshes.obj")
    names = [entry["mesh"]["object"] for entry in found if entry["file_name"] == "0.png"]
    assert names == [f"{entry['category']} {row}" for row, entry in enumerate(found[: len(names)], start=1)]
    content = Path("found/0.meshes.glb").read_bytes()
    document = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    assert [node["name"] for node in document["nodes"]] == names
    lines = Path("found/0.meshes.obj").read_text().splitlines()
    assert [line for line in lines if line.startswith("o ")] == [
        "o " + one.replace(" # ", "_").replace(" ", "_") for one in names
    ]
    scene, whole = read_gltf_objects("found/0.meshes.glb"), read_obj("found/0.meshes.obj")
    torch.testing.assert_close(scene.vertices, whole.vertices)
    assert torch.equal(scene.faces, whole.faces)
    assert not list(Path("found").glob("*.gif"))


def test_voxels_are_written_on_request(entries):
    found = entries("--focal_length", FOCAL, "--files", "voxels.npz")
    assert found[0]["voxels"]["files"] == ["0.voxels.npz"]
    assert found[0]["mesh"]["files"] == []
    arrays = np.load(io.BytesIO(Path("found/0.voxels.npz").read_bytes()))
    assert arrays["voxels"].shape[1:] == (6, 6, 6)
    assert len(arrays["voxels"]) == len(arrays["boxes"])


def test_images_without_a_detection_have_empty_files(entries):
    assert (
        entries(
            "--focal_length", FOCAL, "--files", "meshes.glb", "meshes.obj", "turntable.gif", "voxels.npz", score="1"
        )
        == []
    )
    assert len(read_gltf_objects("found/0.meshes.glb")) == 0
    assert Path("found/0.meshes.obj").read_text() == "# 0 objects\n"
    with Image.open("found/0.turntable.gif") as turntable:
        assert np.asarray(turntable.convert("RGB")).min() == 255


def test_a_focal_length_is_a_camera_with_the_center_of_the_image(entries):
    by_length = entries("--focal_length", FOCAL, "--files", "meshes.glb")
    cameras = [
        {"file_name": f"{name}.png", "camera": [[FOCAL, 0, side / 2], [0, FOCAL, 20], [0, 0, 1]]}
        for name, side in ((0, 40), (1, 60))
    ]
    Path("cameras.json").write_text(json.dumps({"images": cameras}))
    assert entries("--given", "cameras.json", "--files", "meshes.glb") == by_length


POSITIVE = "give the focal length in pixels, more than 0."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            (),
            "The MeshRCNN asks for camera of each image: give a file with --given, or the focal length of all images "
            "in pixels with --focal_length.",
        ),
        (("--focal_length", "0"), f"--focal_length is 0: {POSITIVE}"),
        (("--focal_length", "-3"), f"--focal_length is -3: {POSITIVE}"),
        (
            ("--focal_length", "60", "--given", "x.json"),
            "--focal_length and --given both give cameras: leave one of them out.",
        ),
        (
            ("--focal_length", "60", "--files", "mesh.stl"),
            "--files mesh.stl: predictions of the task detection of shapes have meshes.glb, turntable.gif, "
            "meshes.obj, voxels.npz: name one of these.",
        ),
    ],
    ids=["no camera", "zero", "negative", "both", "unknown file"],
)
def test_wrong_options_get_one_sentence(command, options, said):
    status, output = command(*options, "--out", "found")
    assert status == 2
    assert " ".join(output.split()).endswith(said)


def test_models_without_cameras_need_no_focal_length(run_folder, detkit_command, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    options = ("--checkpoint", run_folder, "--trust", "tiny_detector", "--out", "found")
    status, output = detkit_command("predict", "a.png", *options, "--focal_length", "60")
    assert status == 2
    assert "--focal_length gives cameras, and the TinyDetector asks for none: leave it out." in output
