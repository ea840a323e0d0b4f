"""Pix3D as COCO files with shapes, against a port of the authors' transforms."""

import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch
from pix3d_folder import CORNERS, FACES, authors_pixels, authors_space, authors_voxels, grid_of, write_obj, write_pix3d

from detkit.data import Augmentation, CocoDataset, DataModule, ImageDataset, Loader, TrainingDataset
from detkit.data.packed import shape_columns
from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator
from detkit.structures import Category, Detections, Meshes, PointClouds, Target
from detkit.testing import check_dataset
from detkit.trust.inspection.inspection import inspect_data

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]
READS = ["masks", "meshes", "voxels", "camera"]
TO_OURS = np.array([-1.0, -1.0, 1.0])


def _entries(path):
    return json.loads(Path(path).read_text())["annotations"]


def _change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _pixels(points, camera):
    seen = points.double() @ camera.double().T
    return seen[:, :2] / seen[:, 2:]


PIXEL = 1 + 1 / 256
"""A mask reaches as far from its outline, whose corners are drawn in 256ths of a pixel."""


def _box_of(points):
    return torch.cat([points.amin(dim=0), points.amax(dim=0)])


def _volume(meshes):
    corners = meshes.vertices.double()[meshes.faces]
    return float(torch.linalg.det(corners).sum() / 6)


@pytest.mark.parametrize("seed", SEEDS)
class TestFrames:
    def test_meshes_are_those_of_the_authors_with_x_and_y_negated(self, tmp_path, seed):
        path = write_pix3d(tmp_path, seed)
        dataset = CocoDataset(tmp_path, path, reads=READS)
        for index, entry in enumerate(_entries(path)):
            meshes = dataset.target(index).meshes
            assert meshes.vertices.dtype == torch.float32
            expected = authors_space(CORNERS, entry) * TO_OURS
            assert np.allclose(meshes.vertices.numpy(), expected, atol=1e-6)
            assert np.array_equal(meshes.faces.numpy(), FACES)
            # Faces look outward: the frames differ by a rotation. The volume is that of the box in its file.
            assert _volume(meshes) == pytest.approx(0.8 * 0.4 * 0.4, rel=1e-5)

    def test_they_are_seen_where_the_mask_is(self, tmp_path, seed):
        path = write_pix3d(tmp_path, seed)
        dataset = CocoDataset(tmp_path, path, reads=READS)
        for index, entry in enumerate(_entries(path)):
            target = dataset.target(index)
            pixels = _pixels(target.meshes.vertices, target.camera)
            expected = authors_pixels(authors_space(CORNERS, entry), entry)
            assert np.allclose(pixels.numpy(), expected, atol=1e-3)
            assert torch.allclose(_box_of(pixels), target.boxes[0].double(), atol=PIXEL)
            rows, columns = target.masks[0].nonzero().double().unbind(dim=1)
            own = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert torch.allclose(_box_of(pixels), own, atol=PIXEL)

    def test_voxels(self, tmp_path, seed):
        path = write_pix3d(tmp_path, seed)
        dataset = CocoDataset(tmp_path, path, reads=READS)
        for index, entry in enumerate(_entries(path)):
            voxels = dataset.target(index).voxels
            expected = authors_space(authors_voxels(grid_of(seed)), entry) * TO_OURS
            assert isinstance(voxels, PointClouds)
            assert len(voxels) == 1
            assert np.allclose(voxels.points.numpy(), expected, atol=1e-6)

    def test_a_mirrored_image_has_them_where_its_mask_is(self, tmp_path, seed):
        path = write_pix3d(tmp_path, seed)
        dataset = CocoDataset(tmp_path, path, reads=READS)
        mirrored = TrainingDataset(dataset, Augmentation(horizontal_flip=1.0), seed=0)
        for index in range(len(dataset)):
            before, after = dataset.target(index), mirrored[index, 0][1]
            pixels = _pixels(after.meshes.vertices, after.camera)
            assert torch.allclose(_box_of(pixels), after.boxes[0].double(), atol=PIXEL)
            assert after.camera[0, 0] == before.camera[0, 0]
            assert _volume(after.meshes) == pytest.approx(_volume(before.meshes), rel=1e-6)
            assert torch.equal(after.voxels.points[:, 0], -before.voxels.points[:, 0])


def test_the_camera_keeps_its_principal_point(tmp_path):
    path = write_pix3d(tmp_path, changes={"K": [50.0, 20.5, 31.25]})
    camera = CocoDataset(tmp_path, path, reads=["camera"]).target(0).camera
    assert camera.tolist() == [[50, 0, 20.5], [0, 50, 31.25], [0, 0, 1]]


def test_the_camera_of_an_image_comes_before_that_of_its_objects(tmp_path):
    path = write_pix3d(tmp_path)
    camera = [[9.0, 0, 1], [0, 8, 2], [0, 0, 1]]
    _change(path, lambda content: content["images"][1].update(camera=camera))
    dataset = CocoDataset(tmp_path, path, reads=["camera"])
    assert dataset.target(1).camera.tolist() == camera
    assert dataset.target(0).camera[0, 0] == pytest.approx(_entries(path)[0]["K"][0])
    camera[0][0] = 0
    _change(path, lambda content: content["images"][1].update(camera=camera))
    with pytest.raises(
        InputError, match=r"pix3d_s1_train\.json: the camera of image 2 is \[\[0\.0, .* no intrinsic mat"
    ):
        CocoDataset(tmp_path, path, reads=["camera"])


def test_several_objects_and_none(tmp_path):
    path = write_pix3d(tmp_path)

    def change(content):
        first, second, third = content["annotations"]
        for key in ("model", "voxel", "rot_mat", "trans_mat", "K"):
            del third[key]
        crowd = {"id": 8, "image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1}
        second |= {"image_id": 1, "K": first["K"], "segmentation": first["segmentation"]}
        content["annotations"] = [third, first, crowd, second]

    _change(path, change)
    dataset = CocoDataset(tmp_path, path, reads=READS)
    several, none, unknown = (dataset.target(index) for index in range(3))
    _, first, _, second = _entries(path)
    assert several.iscrowd.tolist() == [False, True, False]
    assert [len(one) for one in several.meshes.vertices_list()] == [8, 0, 8]
    for row, entry in ((0, first), (2, second)):
        expected = authors_space(CORNERS, entry) * TO_OURS
        assert np.allclose(several.meshes[row].vertices.numpy(), expected, atol=1e-6)
    assert several.voxels.counts.tolist() == [grid_of(0).sum(), 0, grid_of(0).sum()]
    assert len(several.objects().meshes) == 2
    assert (len(none), len(none.meshes), len(none.voxels)) == (0, 0, 0)  # nothing is there
    assert (unknown.meshes, unknown.voxels) == (None, None)  # not annotated
    check_dataset(dataset, num_workers=0)


def test_the_contract_of_data_sets(tmp_path):
    check_dataset(CocoDataset(tmp_path, write_pix3d(tmp_path), reads=READS))


def test_workers_give_the_same(tmp_path):
    dataset = CocoDataset(tmp_path, write_pix3d(tmp_path, sizes=[(60, 90)] * 5), reads=READS)
    for images, targets in Loader(dataset, 2, batch_size=2):
        for image, target in zip(images, targets, strict=True):
            expected_image, expected = dataset[target.image_id - 1]
            assert torch.equal(image, expected_image)
            assert torch.equal(target.meshes.vertices, expected.meshes.vertices)
            assert torch.equal(target.meshes.faces, expected.meshes.faces)
            assert torch.equal(target.voxels.points, expected.voxels.points)
            assert torch.equal(target.camera, expected.camera)


def test_a_model_is_read_once_and_its_targets_are_their_own(tmp_path, monkeypatch):
    dataset = CocoDataset(tmp_path, write_pix3d(tmp_path), reads=["meshes"])
    read = []
    original = shape_columns.read_kept_mesh._read
    monkeypatch.setattr(shape_columns.read_kept_mesh, "_read", lambda path: read.append(path) or original(path))
    first = dataset.target(0).meshes
    kept = first.vertices.clone()
    first.vertices.zero_()
    first.faces.zero_()
    again = dataset.target(0).meshes
    dataset.target(1)
    assert read == [str(tmp_path / "model/chair/box.obj")]
    assert torch.equal(again.vertices, kept)
    assert np.array_equal(again.faces.numpy(), FACES)


def test_a_written_file_reads_the_same(tmp_path):
    dataset = CocoDataset(tmp_path, write_pix3d(tmp_path), reads=READS)
    path = tmp_path / "again.json"
    path.write_text(json.dumps(dataset.packed_annotations.to_coco()))
    again = CocoDataset(tmp_path, path, reads=READS)
    for index in range(len(dataset)):
        one, other = dataset.target(index), again.target(index)
        assert torch.allclose(one.meshes.vertices, other.meshes.vertices, atol=1e-6)
        assert torch.allclose(one.voxels.points, other.voxels.points, atol=1e-6)
        assert torch.equal(one.camera, other.camera)
        assert torch.equal(one.masks, other.masks)


def test_a_recipe_names_the_two_files(tmp_path):
    train = write_pix3d(tmp_path)
    test = write_pix3d(tmp_path, 1, "pix3d_s1_test.json", model="other")
    data = DataModule(root=tmp_path, train_annotations=train, val_annotations=test, reads=READS, num_workers=0)
    data.setup("fit")
    (images, targets), *_ = data.train_dataloader()
    assert isinstance(targets[0].meshes, Meshes)
    assert len(images) == 2
    assert len(data.eval_dataset) == 3


def test_a_folder_with_one_file_of_each_split_needs_no_paths(tmp_path):
    write_pix3d(tmp_path)
    write_pix3d(tmp_path, 1, "pix3d_s1_val.json", model="other")
    data = DataModule(root=tmp_path, reads=["meshes"], num_workers=0)
    data.setup("fit")
    assert len(data.train_dataset) == len(data.eval_dataset) == 3
    assert [split.name for split in inspect_data(data.splits).splits] == ["train", "val"]


class TestExcludedImages:
    NAMES = ("img/chair/2.png", "img/table/1749.jpg")

    def _data(self, root):
        path = write_pix3d(root)
        return DataModule(
            root=root, train_annotations=path, val_annotations=path, excluded_images=list(self.NAMES), reads=["masks"]
        )

    def test_they_are_in_no_split_and_no_truth(self, tmp_path):
        data = self._data(tmp_path)
        for dataset in (data.train_dataset, data.eval_dataset, data.eval_dataset.reading({"camera"})):
            assert dataset.image_ids == [1, 3]
        assert CocoEvaluator(data.eval_dataset.ground_truth(), "segm").ground_truth.image_ids == [1, 3]

    def test_sizes_of_their_masks_do_not_matter(self, tmp_path):
        data = self._data(tmp_path)
        (tmp_path / "mask/chair/2.png").write_bytes((tmp_path / "mask/chair/1.png").read_bytes())
        evaluator = CocoEvaluator(data.eval_dataset.ground_truth(), "segm")
        targets = [data.eval_dataset.target(index) for index in range(2)]
        evaluator.update(
            targets, [Detections(one.boxes, torch.ones(1), one.labels, masks=one.masks) for one in targets]
        )
        assert evaluator.compute()["AP"] == pytest.approx(1)

    def test_a_class_without_names_of_files_says_so(self, tmp_path):
        data = DataModule(dataset=lambda split: _Own(), excluded_images=list(self.NAMES))
        with pytest.raises(InputError, match="_Own cannot leave out images by name"):
            data.train_dataset  # noqa: B018


class _Own(ImageDataset):
    """A data set without names of files."""

    categories = (Category(1, "chair"),)
    image_ids = (1,)
    image_sizes = np.array([[4, 4]])

    def read(self, index):
        return np.zeros((4, 4, 3), np.uint8), Target.empty(1)


def _set(**values):
    return lambda content, root: content["annotations"][1].update(values)


def _drop(key):
    return lambda content, root: content["annotations"][1].pop(key)


def _drop_all(key):
    return lambda content, root: [one.pop(key) for one in content["annotations"]]


def _second_object(**values):
    def change(content, root):
        other = {**content["annotations"][1], "id": 9, **values}
        content["annotations"].append({key: value for key, value in other.items() if value is not None})

    return change


def _nan_vertex(content, root):
    write_obj(root / "model/chair/box.obj", CORNERS * [[np.nan if row == 3 else 1] for row in range(8)])


def _no_faces(content, root):
    """Of the second object alone, without its voxels."""
    write_obj(root / "model/chair/points.obj", faces=FACES[:0])
    content["annotations"][1] = {**content["annotations"][1], "model": "model/chair/points.obj"}
    del content["annotations"][1]["voxel"]


ROTATION = np.eye(3)
NAMED = "pix3d_s1_train.json: annotation 2 of image 2"
FAULTS = {
    "no K": (_drop("K"), "camera", f"{NAMED} has no 'K'"),
    "no K at all": (_drop_all("K"), "camera", "annotation 1 of image 1 has no 'K'"),
    "K of two numbers": (_set(K=[1, 2]), "camera", f"the K of {NAMED.split(': ')[1]} is [1, 2]; it must be finite"),
    "K with NaN": (_set(K=[float("nan"), 1, 2]), "camera", "is [nan, 1, 2]; it must be finite numbers of shape (3,)"),
    "K without focal length": (_set(K=[0, 1, 2]), "camera", "has the focal length 0; it must be above 0, in pixels"),
    "two cameras": (_second_object(K=[1, 2, 3]), "camera", "annotation 9 of image 2 has the K [1, 2, 3], another"),
    "no models": (_drop_all("model"), "meshes", "pix3d_s1_train.json: no object has a 'model', the path of a file"),
    "no model of one": (_second_object(model=None), "meshes", "annotation 9 of image 2 has no 'model', but other"),
    "model not there": (_set(model="model/no.obj"), "meshes", f"{NAMED}: its model 'model/no.obj' is neither in"),
    "model of a number": (_set(model=3), "meshes", f"{NAMED}: its model is 3; it must be the path of a file (.obj"),
    "model of a picture": (_set(model="a.png"), "meshes", f"{NAMED}: its model is 'a.png'; it must be the path"),
    "voxels not there": (_set(voxel="no.mat"), "voxels", f"{NAMED}: its voxel 'no.mat' is neither in"),
    "no rotation": (_drop("rot_mat"), "meshes", f"{NAMED}, which has a model, has no 'rot_mat': give"),
    "no translation": (_drop("trans_mat"), "voxels", f"{NAMED}, which has a voxel, has no 'trans_mat': give"),
    "rotation of 2x2": (_set(rot_mat=[[1, 0], [0, 1]]), "meshes", "has a rot_mat that is [[1, 0], [0, 1]]; it must be"),
    "translation of 4": (_set(trans_mat=[0, 0, 1, 1]), "meshes", "finite numbers of shape (3,)"),
    "scaled": (_set(rot_mat=(2 * ROTATION).tolist()), "meshes", "which is no rotation: its rows must be orthogonal"),
    "mirrored": (_set(rot_mat=(-ROTATION).tolist()), "meshes", "which is no rotation: its rows must be orthogonal"),
    "NaN": (_set(trans_mat=[0, float("nan"), 1]), "meshes", "has a trans_mat that is [0, nan, 1]; it must be finite"),
    "behind": (_set(trans_mat=[0, 0, -2.0]), "meshes", "model/chair/box.obj reaches from z = -2"),
    "around": (_set(trans_mat=[0, 0, 0.05]), "voxels", "but the camera sees what lies at z > 0 alone"),
    "NaN vertex": (_nan_vertex, "meshes", "box.obj, line 4: vertex 3 has a coordinate that is no finite number"),
    "no faces": (_no_faces, "meshes", "model/chair/points.obj has no faces, and so no surface to learn; repair the"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
class TestFaults:
    def test_reading_says_what_and_where(self, tmp_path, name):
        change, field, expected = FAULTS[name]
        path = write_pix3d(tmp_path)
        _change(path, lambda content: change(content, tmp_path))
        with pytest.raises(InputError) as error:
            CocoDataset(tmp_path, path, reads=[field]).target(1)
        assert expected in str(error.value)
        assert str(tmp_path) in str(error.value)
        assert "\n" not in str(error.value)

    def test_inspect_lists_it(self, tmp_path, name):
        change, _, expected = FAULTS[name]
        path = write_pix3d(tmp_path)
        _change(path, lambda content: change(content, tmp_path))
        data = DataModule(root=tmp_path, train_annotations=path)
        problems = inspect_data(data.splits).problems
        texts = [text for one in problems if one.name in ("wrong_shapes", "wrong_shape_files") for text in one.examples]
        if name in ("no K at all", "no models", "no model of one", "two cameras"):
            assert texts == []  # of a single object, nothing is wrong
        else:
            known = expected.split("annotation 2 of image 2")[-1].replace("which has a voxel", "which has a model")
            assert any(known in text for text in texts), (known, texts)
            assert any("img/chair/2.png, annotation 2 of image 2: " in text for text in texts)


def test_inspect_of_a_sound_folder(tmp_path):
    data = DataModule(root=tmp_path, train_annotations=write_pix3d(tmp_path))
    assert [one.name for one in inspect_data(data.splits).problems if one.level == "error"] == []
