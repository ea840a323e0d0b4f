"""ShapeNet with the renderings of 3D-R2N2, against a port of the authors' transforms."""

import json
import secrets
from functools import partial

import numpy as np
import pytest
import torch
from shapenet_folder import (
    CORNERS,
    FACES,
    authors_pixels,
    authors_space,
    authors_voxels,
    binvox_bytes,
    grid_of,
    write_shapenet,
)

from detkit.data import Augmentation, DataModule, Loader, ShapeNetDataset, TrainingDataset, format_of
from detkit.data.conversion import convert
from detkit.data.formats.shapenet import shape_cache
from detkit.data.formats.shapenet.shapenet_columns import aligned_points
from detkit.errors import InputError
from detkit.structures import Category
from detkit.testing import check_dataset
from detkit.trust.inspection.inspection import inspect_data

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]
READS = ["meshes", "voxels", "camera"]
TO_OURS = np.array([1.0, -1.0, -1.0])


def _view_of(views, image_id):
    synset, model, number = image_id.split("/")
    return views[f"{synset}/{model}"][int(number)]


def _pixels(points, camera):
    seen = points.double() @ camera.double().T
    return (seen[:, :2] / seen[:, 2:]).numpy()


def _silhouette(image):
    """The box around the pixels that are not black."""
    rows, columns = image.any(dim=0).nonzero().unbind(dim=1)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)


def _box_of(points):
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@pytest.mark.parametrize("seed", SEEDS)
class TestFrames:
    def test_meshes_are_those_of_the_authors_with_y_and_z_negated(self, tmp_path, seed):
        views = write_shapenet(tmp_path, seed)
        for _, target in ShapeNetDataset("train", tmp_path, READS):
            expected = authors_space(CORNERS, _view_of(views, target.image_id))
            assert target.meshes.vertices.dtype == torch.float32
            assert np.allclose(target.meshes.vertices.numpy(), expected * TO_OURS, atol=1e-6)
            assert np.array_equal(target.meshes.faces.numpy(), FACES)
            volume = torch.linalg.det(target.meshes.vertices.double()[target.meshes.faces]).sum() / 6
            assert float(volume) == pytest.approx(0.4 * 0.45 * 0.2, rel=1e-5)  # faces look outward
            assert np.allclose(_pixels(target.meshes.vertices, target.camera), authors_pixels(expected), atol=1e-3)

    def test_they_are_seen_where_the_object_is_drawn(self, tmp_path, seed):
        write_shapenet(tmp_path, seed)
        dataset = ShapeNetDataset("train", tmp_path, READS)
        mirrored = TrainingDataset(dataset, Augmentation(horizontal_flip=1.0), seed=0)
        for index in range(len(dataset)):
            for image, target in (dataset[index], mirrored[index, 0]):
                assert image.shape == (3, 137, 137)
                assert image[:, 0, 0].tolist() == [0, 0, 0]
                seen = _box_of(_pixels(target.meshes.vertices, target.camera))
                assert np.abs(seen - _silhouette(image)).max() < 1
                assert np.abs(_pixels(target.voxels.points, target.camera) - 68.5).max() < 68.5

    def test_voxels_have_the_extent_of_the_mesh(self, tmp_path, seed):
        views = write_shapenet(tmp_path, seed)
        for _, target in ShapeNetDataset("train", tmp_path, READS):
            points = authors_voxels(grid_of(seed), CORNERS)
            expected = authors_space(points, _view_of(views, target.image_id)) * TO_OURS
            assert len(target.voxels) == 1
            assert np.allclose(target.voxels.points.numpy(), expected, atol=1e-6)


class TestAlignment:
    def test_flat_voxels_lie_in_the_middle(self):
        points = torch.tensor([[0.0, 5, 1], [2, 5, 3]])
        vertices = torch.tensor([[0.0, 0, 0], [1, 4, 2]])
        assert aligned_points(points, vertices).tolist() == [[0, 2, 0], [1, 2, 2]]

    def test_none(self):
        assert aligned_points(torch.zeros(0, 3), torch.ones(4, 3)).shape == (0, 3)


class TestIndex:
    def test_images_and_classes(self, tmp_path):
        write_shapenet(tmp_path)
        dataset = ShapeNetDataset("train", tmp_path)
        assert dataset.image_ids == [
            "02691156/a1/00", "02691156/a1/01", "02691156/a1/03", "02691156/b2/02", "03001627/c3/01",
        ]  # fmt: skip
        assert dataset.categories == [Category(1, "plane"), Category(2, "chair"), Category(3, "99999999")]
        targets = [target for _, target in dataset]
        assert [target.image_label for target in targets] == [0, 0, 0, 0, 1]
        assert {target.meshes for target in targets} == {target.boxes for target in targets} == {None}
        assert dataset.image_sizes.tolist() == [[137, 137]] * 5
        truth = dataset.ground_truth()
        assert [image["category_id"] for image in truth["images"]] == [1, 1, 1, 1, 2]
        assert truth["annotations"] == []

    @pytest.mark.parametrize("size", [137, 64])
    def test_cameras_of_other_sizes(self, tmp_path, size):
        write_shapenet(tmp_path, size=size)
        camera = ShapeNetDataset("test", tmp_path, ["camera"]).target(0).camera
        expected = [[2.1875 * size / 2, 0, size / 2], [0, 2.1875 * size / 2, size / 2], [0, 0, 1]]
        assert np.allclose(camera.numpy(), expected)

    def test_the_other_voxel_file(self, tmp_path):
        write_shapenet(tmp_path)
        path = tmp_path / "ShapeNetCore.v1.binvox/99999999/d4/model.presolid.binvox"
        expected = ShapeNetDataset("test", tmp_path, READS).target(0).voxels
        path.rename(path.with_name("model.binvox"))
        assert torch.equal(ShapeNetDataset("test", tmp_path, READS).target(0).voxels.points, expected.points)
        path.write_bytes(binvox_bytes(np.eye(3, dtype=int)[..., None] * np.ones(3, dtype=int)))  # comes first
        assert len(ShapeNetDataset("test", tmp_path, READS).target(0).voxels.points) == 9

    def test_meshes_alone_need_no_voxels(self, tmp_path):
        write_shapenet(tmp_path)
        (tmp_path / "ShapeNetCore.v1.binvox/99999999/d4/model.presolid.binvox").unlink()
        assert len(ShapeNetDataset("test", tmp_path, ["meshes"]).target(0).meshes) == 1

    def test_any_other_file_of_splits(self, tmp_path):
        write_shapenet(tmp_path)
        (tmp_path / "pix2mesh_splits_val05.json").rename(tmp_path / "my_splits.json")
        assert len(ShapeNetDataset("val", tmp_path)) == 2


def test_the_contract_of_data_sets(tmp_path):
    write_shapenet(tmp_path)
    check_dataset(ShapeNetDataset("train", tmp_path, READS))


def test_workers_give_the_same(tmp_path):
    write_shapenet(tmp_path)
    dataset = ShapeNetDataset("train", tmp_path, READS)
    expected = {target.image_id: (image, target) for image, target in dataset}
    for images, targets in Loader(dataset, 2, batch_size=2):
        for image, target in zip(images, targets, strict=True):
            own_image, own = expected.pop(target.image_id)
            assert torch.equal(image, own_image)
            assert torch.equal(target.meshes.vertices, own.meshes.vertices)
            assert torch.equal(target.meshes.faces, own.meshes.faces)
            assert torch.equal(target.voxels.points, own.voxels.points)
            assert torch.equal(target.camera, own.camera)
    assert not expected


def test_a_recipe_names_the_folder(tmp_path):
    write_shapenet(tmp_path)
    assert format_of(tmp_path) == "shapenet"
    data = DataModule(root=tmp_path, reads=READS, num_workers=0, excluded_images=["02691156/a1/rendering/01.png"])
    data.setup("fit")
    assert len(data.train_dataset) == 4
    assert len(data.eval_dataset) == 2
    assert [category.name for category in data.categories] == ["plane", "chair", "99999999"]
    _, targets = next(iter(data.train_dataloader()))
    assert [len(target.meshes) for target in targets] == [1, 1]


def test_inspect_and_convert(tmp_path):
    write_shapenet(tmp_path)
    inspection = inspect_data(DataModule(root=tmp_path).splits)
    assert [(split.name, len(split)) for split in inspection.splits] == [("train", 5), ("val", 2), ("test", 1)]
    assert [problem.name for problem in inspection.problems if problem.level == "error"] == []
    with pytest.raises(InputError, match="has the renderings of ShapeNet and no boxes"):
        convert(tmp_path, tmp_path / "out", "coco")


class TestCache:
    def _same(self, one, other):
        for index in range(len(one)):
            own, expected = one.target(index), other.target(index)
            assert torch.equal(own.meshes.vertices, expected.meshes.vertices)
            assert torch.equal(own.meshes.faces, expected.meshes.faces)
            assert torch.equal(own.voxels.points, expected.voxels.points)

    def test_arrays_are_written_once_and_read_then(self, tmp_path, monkeypatch):
        write_shapenet(tmp_path / "data")
        plain = ShapeNetDataset("train", tmp_path / "data", READS)
        cached = ShapeNetDataset("train", tmp_path / "data", READS, cache=tmp_path / "arrays")
        self._same(cached, plain)
        names = sorted(str(path.relative_to(tmp_path / "arrays")) for path in (tmp_path / "arrays").rglob("*.*"))
        models = ["02691156/a1", "02691156/b2", "03001627/c3"]
        assert names == [f"{model}/{name}" for model in models for name in ("mesh.npz", "voxels.npz")]
        monkeypatch.setattr(shape_cache, "read_mesh", None)
        monkeypatch.setattr(shape_cache, "read_voxel_points", None)
        self._same(cached, plain)

    def test_changed_files_and_broken_arrays_are_read_again(self, tmp_path):
        write_shapenet(tmp_path / "data")
        cached = ShapeNetDataset("test", tmp_path / "data", READS, cache=tmp_path / "arrays")
        before = cached.target(0)
        mesh = tmp_path / "data/ShapeNetCore.v1/99999999/d4/model.obj"
        mesh.write_text(mesh.read_text().replace("-0.25", "-0.125"))
        (tmp_path / "arrays/99999999/d4/voxels.npz").write_bytes(b"PK broken")
        after = cached.target(0)
        assert not torch.equal(before.meshes.vertices, after.meshes.vertices)
        self._same(cached, ShapeNetDataset("test", tmp_path / "data", READS))

    def test_workers_share_it(self, tmp_path):
        write_shapenet(tmp_path / "data")
        make = partial(ShapeNetDataset, cache=tmp_path / "arrays")
        data = DataModule(root=tmp_path / "data", dataset=make, reads=READS, num_workers=2, augmentation=None)
        data.setup("fit")
        targets = [target for _, batch in data.train_dataloader() for target in batch]
        expected = {target.image_id: target for _, target in ShapeNetDataset("train", tmp_path / "data", READS)}
        for target in targets:
            assert torch.equal(target.meshes.vertices, expected.pop(target.image_id).meshes.vertices)
        assert len(targets) == 4  # two whole batches

    def test_a_missing_file_is_named(self, tmp_path):
        write_shapenet(tmp_path / "data")
        cached = ShapeNetDataset("test", tmp_path / "data", READS, cache=tmp_path / "arrays")
        (tmp_path / "data/ShapeNetCore.v1/99999999/d4/model.obj").unlink()
        with pytest.raises(InputError, match=r"99999999/d4/model\.obj"):
            cached.target(0)


def _remove(name):
    return lambda root: (root / name).unlink()


def _views(text):
    path = "ShapeNetRendering/02691156/a1/rendering/rendering_metadata.txt"
    return lambda root: (root / path).write_text(text)


def _no_faces(root):
    (root / "ShapeNetCore.v1/02691156/a1/model.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 1\n")


def _splits(content):
    return lambda root: (root / "pix2mesh_splits_val05.json").write_text(json.dumps(content))


GOOD = "10 20 0 0.9 25\n"
FAULTS = {
    "no splits": (_remove("pix2mesh_splits_val05.json"), "there must be one JSON file of splits, such as pix2mesh"),
    "no split": (_splits({"val": {}}), "pix2mesh_splits_val05.json: there is no split train; it has val"),
    "no images": (_splits({"train": {"02691156": {}}}), "the split train names no image; add some"),
    "splits of lists": (_splits({"train": {"02691156": ["a1"]}}), "02691156 of the split train holds ['a1']; it must"),
    "splits of splits": (_splits([1]), "the file holds [1]; it must be an object: images by split, synset, model"),
    "numbers": (_splits({"train": {"02691156": {"a1": [0, 0]}}}), "the images of 02691156/a1 in the split train are"),
    "text": (_splits({"train": {"02691156": {"a1": ["0"]}}}), "are ['0']; give a list of their numbers, each once"),
    "no image": (_remove("ShapeNetRendering/02691156/a1/rendering/03.png"), "1 of 5 image files are not in"),
    "no mesh": (_remove("ShapeNetCore.v1/03001627/c3/model.obj"), "03001627/c3/model.obj); copy them there, or leave"),
    "no voxels": (
        _remove("ShapeNetCore.v1.binvox/03001627/c3/model.presolid.binvox"),
        "1 files of the 3 models are missing (first: ",
    ),
    "no views": (_remove("ShapeNetRendering/02691156/a1/rendering/rendering_metadata.txt"), "rendering_metadata.txt);"),
    "few views": (_views(GOOD), "there are 1 views, but"),
    "four numbers": (_views("10 20 0 0.9\n" + GOOD * 3), "line 1: '10 20 0 0.9' are not the five numbers of a view"),
    "NaN": (_views(GOOD + "10 nan 0 0.9 25\n"), "line 2: '10 nan 0 0.9 25' are not the five numbers of a view"),
    "turned": (_views("10 20 5 0.9 25\n"), "a view has no in-plane rotation and a distance above 0, this one has 5"),
    "no faces": (_no_faces, "ShapeNetCore.v1/02691156/a1/model.obj has no faces, and so no surface to learn"),
    "within": (_views("10 20 0 0.1 25\n" * 4), "ShapeNetCore.v1/02691156/a1/model.obj reaches from z = -"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_the_file(tmp_path, name):
    change, expected = FAULTS[name]
    write_shapenet(tmp_path)
    change(tmp_path)
    with pytest.raises(InputError) as error:
        list(ShapeNetDataset("train", tmp_path, READS))
    assert expected in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
