"""`Shapes3D`: targets that agree with their images, meshes and cameras; the same images everywhere."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from pycocotools import mask as rle

from detkit.data import Augmentation, DataModule, Shapes3D
from detkit.data.shapes3d import SOLID_NAMES
from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator
from detkit.mesh_files import write_obj
from detkit.ops import masks_to_rle, rle_to_masks
from detkit.rendering import rasterize
from detkit.structures import Detections
from detkit.structures.meshes import icosphere
from detkit.testing import check_dataset

SEEDS = [0, 1, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]
FIELDS = ("masks", "meshes", "camera")


def data_set(**options) -> Shapes3D:
    return Shapes3D("train", **{"counts": {"train": 12, "val": 4}, **options}).reading(FIELDS)


def fingerprint(dataset: Shapes3D, rows=(0, 3, 5)) -> str:
    return hashlib.sha256(b"".join(dataset.read(row)[0].tobytes() for row in rows)).hexdigest()


def test_the_contract_of_data_sets():
    check_dataset(data_set(), images=4)
    check_dataset(data_set(image_size=(64, 96)), images=3, num_workers=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_areas_and_masks_are_those_of_the_meshes(seed):
    dataset = data_set(seed=seed, image_size=(80, 120))
    for row in range(len(dataset)):
        image, target = dataset.read(row)
        size = image.shape[:2]
        shown = rasterize(target.meshes, target.camera, size).object_map()
        assert torch.equal(target.masks, shown == torch.arange(len(target.labels))[:, None, None])
        encoded = masks_to_rle(target.masks).to_coco()
        boxes = torch.from_numpy(rle.toBbox(encoded)).float()
        assert torch.equal(target.boxes, torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1))
        assert target.area.tolist() == rle.area(encoded).tolist()
        assert target.meshes.vertices[:, 2].min() > 0
        for number in range(len(target.labels)):
            alone = rasterize(target.meshes[number], target.camera, size)
            assert target.masks[number].sum() >= 0.6 * len(alone.pixels)


@pytest.mark.parametrize("upright", [True, False])
def test_masks_are_the_silhouettes_that_opencv_fills(upright):
    dataset = data_set(max_objects=1, upright=upright, image_size=(120, 128))
    for row in range(len(dataset)):
        target = dataset.target(row)
        vertices = target.meshes.vertices.double().numpy()
        points = vertices @ target.camera.double().numpy().T
        points = (points[:, :2] / points[:, 2:] - 0.5) * 16  # OpenCV counts from pixel centers, here in 1/16
        silhouette = np.zeros(target.masks.shape[1:], dtype=np.uint8)
        for face in np.round(points).astype(np.int32)[target.meshes.faces.numpy()]:
            cv2.fillConvexPoly(silhouette, face, 1, cv2.LINE_8, 4)
        mask = target.masks[0].numpy()
        assert not (mask & (silhouette == 0)).any()
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))  # OpenCV fills all pixels that an edge touches
        assert not (silhouette.astype(bool) & (grown == 0)).any()


def test_all_classes_and_numbers_of_objects_appear():
    dataset = data_set(counts={"train": 60})
    targets = [dataset.target(row) for row in range(60)]
    assert {label for target in targets for label in target.labels.tolist()} == set(range(len(SOLID_NAMES)))
    assert {len(target.labels) for target in targets} == {1, 2, 3}
    assert [category.name for category in dataset.categories] == list(SOLID_NAMES)


def test_some_objects_hide_parts_of_others():
    dataset = data_set(counts={"train": 40}, object_size=(0.5, 0.8))
    shares = []
    for row in range(40):
        target = dataset.target(row)
        for number in range(len(target.labels)):
            alone = rasterize(target.meshes[number], target.camera, (128, 128))
            shares.append(int(target.masks[number].sum()) / len(alone.pixels))
    assert 0.6 <= min(shares) < 0.95
    assert max(shares) == 1


def test_meshes_are_closed_and_seen_from_outside():
    """In the camera frame, faces toward the camera are counterclockwise seen from it: their normals point at it."""
    dataset = data_set()
    for row in range(len(dataset)):
        target = dataset.target(row)
        assert target.meshes.is_closed().all()
        shown = rasterize(target.meshes, target.camera, (128, 128))
        normals = target.meshes.face_normals()[shown.faces]
        centers = target.meshes.vertices[target.meshes.faces].mean(dim=1)[shown.faces]
        assert (normals * centers).sum(dim=1).max() < 1e-4


def test_upright_objects_turn_about_one_vertical():
    """The axis of a torus lies in the plane of the camera's y and z."""
    sides = {}
    for upright in (True, False):
        dataset = data_set(names=["torus"], max_objects=1, upright=upright)
        axes = []
        for row in range(len(dataset)):
            vertices = dataset.target(row).meshes.vertices.double()
            axes.append(torch.linalg.svd(vertices - vertices.mean(dim=0))[2][2])
        sides[upright] = torch.stack(axes).abs()
    assert sides[True][:, 0].max() < 1e-3
    assert sides[True][:, 1].min() > 0.76  # the camera looks down by at most 40 degrees
    assert sides[True][:, 2].min() > 0.17  # and at least 10
    assert sides[False][:, 0].mean() > 0.25


def test_centered_objects_fill_the_image():
    dataset = data_set(centered=True, max_objects=1, object_size=(0.9, 0.95), names=["ellipsoid"])
    for row in range(len(dataset)):
        (box,) = dataset.target(row).boxes
        assert (box[2:] - box[:2]).max() > 0.6 * 128
        assert (box[:2] + box[2:] - 128).abs().max() < 12


def test_cameras_vary_about_the_middle():
    cameras = torch.stack([data_set().target(row).camera for row in range(12)])
    assert (cameras[:, :2, 2] - 64).abs().max() <= 0.05 * 128 + 1e-4
    assert cameras[:, :2, 2].std(dim=0).min() > 1
    assert cameras[:, 0, 0].std() > 5
    assert torch.equal(cameras[:, 0, 0], cameras[:, 1, 1])


def test_objects_stand_out_from_the_background():
    dataset = data_set(counts={"train": 30})
    distances = []
    for row in range(30):
        image, target = dataset.read(row)
        background = image[~target.masks.any(dim=0).numpy()].mean(axis=0)
        distances += [np.linalg.norm(image[mask.numpy()].mean(axis=0) - background) for mask in target.masks]
    assert np.quantile(distances, 0.1) > 30


def test_an_image_depends_on_seed_split_and_index_alone():
    one = fingerprint(data_set())
    assert fingerprint(data_set()) == one
    dataset = data_set()
    backwards = [dataset.read(row)[0] for row in (5, 3, 0)]
    assert all(np.array_equal(image, dataset.read(row)[0]) for image, row in zip(backwards, (5, 3, 0), strict=True))
    assert fingerprint(data_set(counts={"train": 6})) == one
    assert fingerprint(data_set(seed=1)) != one
    assert fingerprint(Shapes3D("val", counts={"train": 12, "val": 6})) != one
    assert not np.array_equal(dataset.read(0)[0], dataset.read(1)[0])
    assert np.array_equal(dataset.read(-1)[0], dataset.read(11)[0])


def test_images_stay_the_same_between_releases():
    """A recorded image; change these numbers only together with the note in the changelog that images changed."""
    image, target = data_set().read(0)
    assert target.labels.tolist() == [3, 6, 7]
    assert target.boxes.tolist() == [[50, 36, 102, 103], [13, 67, 49, 113], [64, 22, 109, 67]]
    assert target.camera[:2, 2].tolist() == pytest.approx([59.11355, 61.26107], abs=1e-4)
    assert image.mean(axis=(0, 1)).tolist() == pytest.approx([189.137, 137.501, 124.82], abs=0.05)


def test_fields_are_read_on_request():
    plain = Shapes3D("train", counts={"train": 2})
    target = plain.target(0)
    assert target.masks is None
    assert target.meshes is None
    assert target.camera is None
    assert plain.reading({"camera"}).target(0).camera is not None
    with pytest.raises(InputError, match="Shapes3D has no keypoints; it has masks, meshes and camera"):
        plain.reading({"keypoints"})
    with pytest.raises(InputError, match="no field 'mesh'"):
        plain.reading({"mesh"})
    with pytest.raises(IndexError, match="out of range for 2 images"):
        plain.target(2)


def test_the_ground_truth_is_evaluated_with_coco():
    dataset = Shapes3D("val", counts={"val": 6})
    truth = dataset.ground_truth()
    assert all("segmentation" in annotation for annotation in truth["annotations"])
    json.dumps(truth)
    for iou_type in ("bbox", "segm"):
        evaluator = CocoEvaluator(truth, iou_type=iou_type)
        for row in range(len(dataset)):
            target = dataset.reading({"masks"}).target(row)
            scores = torch.ones(len(target.labels))
            found = Detections(boxes=target.boxes, scores=scores, labels=target.labels, masks=target.masks)
            evaluator.update([target], [found])
        assert evaluator.compute()["AP"] == pytest.approx(1)


def test_mesh_files_instead_of_solids(tmp_path: Path):
    sphere = icosphere(2)
    write_obj(tmp_path / "ball.obj", sphere)
    write_obj(tmp_path / "disc.obj", sphere.with_vertices(sphere.vertices * torch.tensor([1, 0.2, 1])))
    data = DataModule(root=tmp_path, dataset=Shapes3D, num_workers=0)
    data.read_for({"meshes", "masks"})
    assert [category.name for category in data.categories] == ["ball", "disc"]
    images, targets = next(iter(data.train_dataloader()))
    assert images[0].shape == (3, 128, 128)
    assert len(targets[0].meshes) == len(targets[0].labels)
    assert Shapes3D("train", root=tmp_path, names=["disc"]).categories[0].name == "disc"


def test_augmented_meshes_stay_on_their_masks():
    """Meshes and camera of mirrored and zoomed images, rendered again, cover the moved masks."""
    augmentation = Augmentation(horizontal_flip=0.5, zoom=(0.7, 1.3))
    data = DataModule(
        dataset=lambda split: Shapes3D(split, counts={"train": 16, "val": 1}, max_objects=1),
        augmentation=augmentation, num_workers=0, batch_size=8,
    )  # fmt: skip
    data.read_for({"masks", "meshes", "camera"})
    mirrored = 0
    for images, targets in data.train_dataloader():
        for image, target in zip(images, targets, strict=True):
            given = data.train_dataset.target(data.train_dataset.image_ids.index(target.image_id))
            mirrored += bool((target.meshes.faces != given.meshes.faces).any())
            assert (target.meshes.is_closed() == given.meshes.is_closed()).all()
            masks = rle_to_masks(target.masks)
            for number in range(len(target.labels)):
                shown = rasterize(target.meshes[number], target.camera, image.shape[1:]).object_map() == 0
                differ = (shown != masks[number]).sum()
                assert differ <= 0.06 * masks[number].sum() + 6
    assert 0 < mirrored < 16


def test_worker_processes_give_what_is_read():
    data = DataModule(dataset=lambda split: Shapes3D(split, counts={"train": 4, "val": 4}), num_workers=1, seed=3)
    data.read_for({"meshes", "camera"})
    dataset = data.eval_dataset
    seen = 0
    for images, targets in data.val_dataloader():
        for image, target in zip(images, targets, strict=True):
            expected_image, expected = dataset[dataset.image_ids.index(target.image_id)]
            assert torch.equal(image, expected_image)
            assert torch.equal(target.meshes.vertices, expected.meshes.vertices)
            assert torch.equal(target.meshes.faces, expected.meshes.faces)
            seen += 1
    assert seen == 4


def test_options_of_the_command_line():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataModule, "data")
    config = parser.parse_args([
        "--data.dataset=detkit.data.Shapes3D", "--data.dataset.counts={train: 3, val: 2}",
        "--data.dataset.image_size=[48,64]", "--data.dataset.names=[cone,torus]", "--data.dataset.max_objects=1",
        "--data.dataset.object_size=[0.8,0.9]", "--data.dataset.centered=true", "--data.reads=[meshes,camera]",
    ])  # fmt: skip
    data = parser.instantiate_classes(config).data
    assert [category.name for category in data.categories] == ["cone", "torus"]
    assert (len(data.train_dataset), len(data.eval_dataset)) == (3, 2)
    assert data.train_dataset.image_size == (48, 64)
    assert len(data.train_dataset[0][1].meshes) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": {"val": 3}}, "no split 'train': choose from val"),
        ({"counts": {"train": 0}}, "counts must give each split at least one image"),
        ({"image_size": (16, 64)}, "image_size must be"),
        ({"image_size": (64, 48)}, "image_size must be"),
        ({"names": ["box", "cube"]}, r"names must be some of box, .* got \['box', 'cube'\]"),
        ({"names": []}, "names must be some of"),
        ({"names": ["box", "box"]}, "each once"),
        ({"max_objects": 0}, "max_objects must be at least 1, got 0"),
        ({"centered": True}, "max_objects must be 1, as objects are centered, got 3"),
        ({"object_size": (0.1, 0.5)}, "object_size must be"),
        ({"object_size": (0.5, 1.2)}, "object_size must be"),
        ({"min_visible": 1.5}, "min_visible must be between 0 and 1"),
        ({"contrast": -1.0}, "contrast must be"),
        ({"noise": -1.0}, "noise must be"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        data_set(**options)
