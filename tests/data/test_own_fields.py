"""Fields of one's own, and a label map and a camera, on the whole way from a file to the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
import torch
from own_fields import TrackedCoco, TrackedTarget
from torch import nn

from detkit.data import (
    COCO_READERS,
    Augmentation,
    CocoDataset,
    CopyPaste,
    DataModule,
    Expand,
    Loader,
    MinIoUCrop,
    MixUp,
    Mosaic,
    ShapesOptions,
    TrainingDataset,
    draw_shapes,
    find_split,
)
from detkit.data.transforms.mixing import mix
from detkit.errors import InputError
from detkit.models import Detector
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge, Square
from detkit.structures import Detections, Meshes, Target

READS = {"masks", "keypoints", "label_map", "camera", "track_ids", "horizon", "weather"}
TRANSFORMS = {
    "flips": Augmentation(0.5, 0.5),
    "crop": Augmentation(crop=1.0, crop_size=(0.3, 0.9)),
    "zoom in": Augmentation(zoom=(1.2, 2.0)),
    "zoom out": Augmentation(zoom=(0.4, 0.8)),
    "all": Augmentation(0.5, 0.5, crop=0.7, zoom=(0.5, 2.0), brightness=0.2, hue=0.1),
    "ssd": Augmentation(transforms=[Expand(), MinIoUCrop()], min_visibility=0),
    "symmetries": Augmentation(transforms=[albumentations.D4(p=1)]),
    "turned": Augmentation(transforms=[albumentations.Affine(rotate=(-30, 30), scale=(0.8, 1.2), p=1)]),
    "pixels alone": Augmentation(transforms=[albumentations.GaussNoise(p=1)]),
}
PREPROCESSES = {
    "shortest edge": ShortestEdge(90, 160),
    "square": Square(96),
    "letterbox": Letterbox((96, 96)),
    "center crop": CenterCrop((64, 64), shorter_side=72),
    "original": OriginalSize(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Shapes with everything: the label map shows the label of each object, the camera its image's scale."""
    options = ShapesOptions({"train": 16, "val": 4}, (64, 96), crowd_probability=0.3, names=("disc", "box", "star"))
    root = draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)
    for split in options.counts:
        images, path = find_split(root, split)
        content = json.loads(path.read_text())
        dataset = CocoDataset(images, path, reads={"masks"})
        (root / "labels" / split).mkdir(parents=True)
        for number, entry in enumerate(content["images"]):
            height, width = entry["height"], entry["width"]
            target = dataset.target(number)
            ids = np.zeros((height, width), np.uint8)
            for mask, label in zip(target.masks.numpy(), target.labels.tolist(), strict=True):
                ids[mask] = dataset.categories[label].id
            name = f"labels/{split}/{Path(entry['file_name']).stem}.png"
            cv2.imwrite(str(root / name), ids)
            if number % 2:  # the others are found by their place
                entry["label_map"] = name
            entry["camera"] = [[100, 0, width / 2], [0, 100, height / 2], [0, 0, 1]]
            entry["horizon"] = [[0, height / 3], [width, height / 2]]
            entry["weather"] = number
        for annotation in content["annotations"]:
            annotation["track_id"] = 1000 + annotation["id"]
        path.write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def dataset(folder: Path) -> TrackedCoco:
    return TrackedCoco(*find_split(folder, "train"), reads=READS)


@pytest.fixture(scope="module")
def samples(dataset: TrackedCoco) -> list:
    return [dataset.read(index) for index in range(len(dataset))]


AXES = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])


def with_axes(target: Target) -> Target:
    """Each object has the ends of the axes of the camera frame as its mesh."""
    return replace(target, meshes=Meshes([AXES] * len(target), [torch.tensor([[0, 1, 2]])] * len(target)))


def turned_frame(moved: Target) -> torch.Tensor:
    """What the camera frame was multiplied with, ``(3, 3)``: where the ends of its axes are now."""
    return moved.meshes.vertices[:3].double().T


def check_label_map(target: Target, size: tuple[int, int], least: float = 0.9) -> None:
    """Where a mask is, the label map has its label, but for the pixels at edges."""
    assert target.label_map.dtype == torch.uint8
    assert tuple(target.label_map.shape) == tuple(size)
    for row, mask in enumerate(target.masks.numpy()):
        inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3)), borderValue=0).astype(bool)
        inner &= ~np.delete(target.masks.numpy(), row, axis=0).any(axis=0)
        if inner.sum() > 20:
            assert (target.label_map[torch.from_numpy(inner)] == target.labels[row]).float().mean() >= least


class TestReading:
    def test_the_fields_of_a_file(self, dataset: TrackedCoco):
        content = json.loads(Path(dataset.annotations_path).read_text())
        for index in range(len(dataset)):
            target = dataset.target(index)
            assert isinstance(target, TrackedTarget)
            own = [one for one in content["annotations"] if one["image_id"] == target.image_id]
            assert target.track_ids.tolist() == [one["track_id"] for one in own]
            assert target.weather == index
            assert target.camera.tolist() == content["images"][index]["camera"]
            assert torch.allclose(target.horizon, torch.tensor(content["images"][index]["horizon"]))
            check_label_map(target, dataset.image_sizes[index], 1.0)

    def test_what_is_not_asked_for_is_none(self, folder: Path):
        target = TrackedCoco(*find_split(folder, "train"))[0][1]
        assert {name for name in target.kinds() if getattr(target, name) is not None} == {
            "boxes", "labels", "iscrowd", "area", "image_id",
        }  # fmt: skip

    def test_reading_more_keeps_the_rest(self, folder: Path):
        plain = TrackedCoco(*find_split(folder, "train"), reads={"masks"})
        more = plain.reading({"track_ids", "boxes"})
        assert more.reads == {"masks", "track_ids"}
        assert plain.target(0).track_ids is None
        assert plain.reading({"masks"}) is plain

    def test_selected_images_keep_their_fields(self, dataset: TrackedCoco):
        packed = dataset._packed.select_images(np.array([3, 1]))
        assert packed.columns["track_ids"].values.tolist() == [
            *dataset.target(3).track_ids.tolist(), *dataset.target(1).track_ids.tolist(),
        ]  # fmt: skip
        assert packed.fields(0, {"weather", "camera"}, "x")["weather"] == 3

    def test_the_content_of_a_coco_file_has_them(self, dataset: TrackedCoco):
        content = dataset._packed.to_coco()
        assert {"track_id", "segmentation", "keypoints", "bbox"} <= content["annotations"][0].keys()
        assert {"camera", "weather", "label_map"} <= content["images"][0].keys()

    @pytest.mark.parametrize("value", ["seven", 1.5, None, [1]])
    def test_wrong_numbers_are_named(self, folder: Path, tmp_path: Path, value):
        images, path = find_split(folder, "train")
        content = json.loads(path.read_text())
        content["annotations"][4]["track_id"] = value
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="the track_id of annotation 5 of image"):
            TrackedCoco(images, tmp_path / "a.json", reads={"track_ids"})

    def test_an_unknown_field_lists_the_fields(self, folder: Path):
        with pytest.raises(InputError, match=r"no field 'mask' .* a TrackedTarget has boxes, .*track_ids"):
            TrackedCoco(*find_split(folder, "train"), reads={"mask"})

    def test_a_field_without_a_reader_is_named(self, folder: Path):
        class Unread(TrackedCoco):
            readers = COCO_READERS

        with pytest.raises(InputError, match="no track_ids are read; give its class a reader"):
            Unread(*find_split(folder, "train"), reads={"track_ids"})

    def test_proposals_of_a_file(self, folder: Path, tmp_path: Path):
        images, path = find_split(folder, "train")
        with pytest.raises(InputError, match=r"no image has 'proposals': .* give data\.proposals"):
            CocoDataset(images, path, reads={"proposals"})
        content = json.loads(path.read_text())
        content["images"][1]["proposals"] = [[1, 2, 3.5, 4], [0, 0, 9, 9]]
        content["images"][2]["proposals"] = []
        (tmp_path / "a.json").write_text(json.dumps(content))
        dataset = CocoDataset(images, tmp_path / "a.json", reads={"proposals"})
        assert dataset.target(0).proposals is None
        assert dataset.target(1).proposals.tolist() == [[1, 2, 4.5, 6], [0, 0, 9, 9]]
        assert dataset.target(2).proposals.shape == (0, 4)
        content["images"][3]["proposals"] = [[1, 2, 3]]
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="the proposals of image 4 must be a list of boxes"):
            CocoDataset(images, tmp_path / "a.json", reads={"proposals"})


class TestWorkers:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_every_field_arrives(self, dataset: TrackedCoco, workers: int):
        targets = [target for _, batch in Loader(dataset, workers, batch_size=3) for target in batch]
        for index, target in enumerate(targets):
            own = dataset.target(index)
            assert isinstance(target, TrackedTarget)
            assert torch.equal(target.track_ids, own.track_ids)
            assert torch.equal(target.label_map, own.label_map)
            assert torch.equal(target.camera, own.camera)
            assert target.weather == index


@pytest.mark.parametrize("name", TRANSFORMS)
class TestAugmentation:
    def test_objects_keep_their_numbers(self, samples: list, name: str):
        for index, (image, target) in enumerate(samples):
            _, varied = TRANSFORMS[name](image, target, np.random.default_rng(index))
            label_of = dict(zip(target.track_ids.tolist(), target.labels.tolist(), strict=True))
            assert len(set(varied.track_ids.tolist())) == len(varied)
            assert varied.labels.tolist() == [label_of[track] for track in varied.track_ids.tolist()]
            assert varied.weather == index

    def test_label_maps_go_with_the_masks(self, samples: list, name: str):
        for index, (image, target) in enumerate(samples):
            varied, moved = TRANSFORMS[name](image, target, np.random.default_rng(index))
            check_label_map(moved, varied.shape[:2])
            assert set(moved.label_map.unique().tolist()) <= {0, 1, 2, 255}

    def test_the_camera_sees_keypoints_where_they_are(self, samples: list, name: str):
        """A point in space behind each keypoint, of depth 2."""
        seen = 0
        for index, (image, target) in enumerate(samples):
            _, moved = TRANSFORMS[name](image, with_axes(target), np.random.default_rng(index))
            if len(moved) == 0:
                continue  # no object tells how its frame has turned
            track = {key: row for row, key in enumerate(target.track_ids.tolist())}
            old = target.keypoints[[track[key] for key in moved.track_ids.tolist()]]
            both = (old[..., 2] > 0) & (moved.keypoints[..., 2] > 0)
            pixels = torch.cat((old[..., :2][both], torch.ones(int(both.sum()), 1)), dim=1).double()
            space = 2 * pixels @ torch.linalg.inv(target.camera.double()).T
            projected = space @ turned_frame(moved).T @ moved.camera.double().T
            assert torch.allclose(
                projected[:, :2] / projected[:, 2:], moved.keypoints[..., :2][both].double(), atol=0.05
            )
            seen += int(both.sum())
        assert seen > 30

    def test_points_of_an_image_move_with_its_camera(self, samples: list, name: str):
        for index, (image, target) in enumerate(samples[:6]):
            _, moved = TRANSFORMS[name](image, with_axes(target), np.random.default_rng(index))
            if len(moved) == 0:
                continue  # no object tells how its frame has turned
            affine = moved.camera.double() @ turned_frame(moved) @ torch.linalg.inv(target.camera.double())
            expected = target.horizon.double() @ affine[:2, :2].T + affine[:2, 2]
            assert torch.allclose(moved.horizon.double(), expected, atol=0.05)


class TestBentPictures:
    BENDS = albumentations.Perspective(scale=(0.1, 0.1), p=1)

    def test_a_camera_cannot_be_taken_along(self, samples: list):
        with pytest.raises(InputError, match=r"not affine.*camera"):
            Augmentation(transforms=[self.BENDS])(*samples[0], np.random.default_rng(0))

    def test_label_maps_can(self, samples: list):
        image, target = samples[0]
        target = Target(target.boxes, target.labels, target.masks, label_map=target.label_map)
        varied, moved = Augmentation(transforms=[self.BENDS])(image, target, np.random.default_rng(0))
        check_label_map(moved, varied.shape[:2])

    def test_what_comes_in_from_outside_is_no_class(self):
        white, zeros = np.full((60, 60, 3), 255, np.uint8), torch.zeros(60, 60, dtype=torch.uint8)
        for labels in (zeros, zeros.to(torch.int16) + 300):
            turn = Augmentation(0.0, transforms=[albumentations.Affine(rotate=(30, 30), p=1)])
            varied, moved = turn(white, Target(label_map=labels), np.random.default_rng(0))
            outside = torch.from_numpy((varied < 10).all(axis=2))
            assert outside.float().mean() > 0.1
            assert (moved.label_map[outside] == (255 if labels.dtype == torch.uint8 else -1)).all()
            inside = torch.from_numpy((varied == 255).all(axis=2))
            assert (moved.label_map[inside] == labels[0, 0]).all()

    def test_proposals_can(self, samples: list):
        image, target = samples[1]
        target = Target(target.boxes, target.labels, proposals=target.boxes)
        _, moved = Augmentation(0.0, transforms=[albumentations.Affine(rotate=(20, 20), p=1)])(
            image, target, np.random.default_rng(0)
        )
        assert moved.proposals.shape[1] == 4
        assert (moved.proposals[:, 2:] > moved.proposals[:, :2]).all()


class TestTargetsWithoutBoxes:
    """A semantic target has a label map and no objects."""

    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_are_varied(self, samples: list, name: str):
        image, target = samples[2]
        varied, moved = TRANSFORMS[name](image, Target(label_map=target.label_map), np.random.default_rng(1))
        assert moved.boxes is None
        assert tuple(moved.label_map.shape) == varied.shape[:2]

    def test_are_mixed(self, samples: list):
        maps = [(image, Target(label_map=target.label_map)) for image, target in samples]
        _, moved = mix([Mosaic(size=(64, 64))], 0, maps.__getitem__, len(maps), np.random.default_rng(0))
        assert moved.boxes is None
        assert tuple(moved.label_map.shape) == (64, 64)


STAGES = {"mosaic": [Mosaic()], "paste": [CopyPaste(1.0)], "both": [CopyPaste(1.0), Mosaic()]}


class TestMixing:
    @pytest.mark.parametrize("name", STAGES)
    def test_label_maps_go_with_the_masks(self, samples: list, name: str):
        for index in range(len(samples)):
            random = np.random.default_rng(index)
            image, target = mix(STAGES[name], index, samples.__getitem__, len(samples), random)
            check_label_map(target, image.shape[:2])
            assert len(target.track_ids) == len(target)
            assert target.weather == index

    def test_objects_keep_their_numbers(self, samples: list):
        label_of = {
            track: label
            for _, target in samples
            for track, label in zip(target.track_ids.tolist(), target.labels.tolist(), strict=True)
        }
        for stages in (*STAGES.values(), [MixUp(1.0)]):
            _, target = mix(stages, 5, samples.__getitem__, len(samples), np.random.default_rng(5))
            assert target.labels.tolist() == [label_of[track] for track in target.track_ids.tolist()]

    def test_what_was_pasted_on_keeps_its_camera(self, samples: list):
        _, target = mix([CopyPaste(1.0)], 2, samples.__getitem__, len(samples), np.random.default_rng(0))
        assert torch.equal(target.camera, samples[2][1].camera)
        assert torch.equal(target.horizon, samples[2][1].horizon)

    @pytest.mark.parametrize(
        ("stage", "field"),
        [(MixUp(), "label_map"), (MixUp(), "camera"), (Mosaic(), "camera"), (Mosaic(), "image_label")],
    )
    def test_what_has_no_answer_is_refused_before_anything_is_read(self, folder: Path, stage, field: str):
        data = DataModule(folder, mixing=[stage])
        with pytest.raises(InputError, match=f"{type(stage).__name__} gives images without {field}"):
            data.read_for({field})
        DataModule(folder, mixing=[CopyPaste()]).read_for({"label_map"}, {"camera"})


class Asking(Detector):
    """Learns the share of pixels that are of a class, by a camera; says what it was given."""

    def __init__(self, preprocess, num_classes: int = 3) -> None:
        super().__init__(num_classes)
        self.learns_from = frozenset({"label_map"})
        self.asks_for = frozenset({"camera"})
        self.preprocess = preprocess
        self.share = nn.Parameter(torch.zeros(1))

    def features(self, batch):
        return batch.images

    def heads(self, features, context):
        return context.given

    def losses(self, raw, context):
        known = torch.stack([(target.label_map != 255).float().mean() for target in context.targets])
        return {"share": (self.share - known).abs().mean()}

    def decode(self, raw, context):
        self.seen = [target.camera for target in raw]
        return [Detections.empty() for _ in raw]


class TestModel:
    @pytest.mark.parametrize("name", PREPROCESSES)
    def test_label_map_and_camera_arrive_in_the_frame_of_the_network(self, dataset: TrackedCoco, name: str):
        images, targets = next(iter(Loader(dataset, batch_size=4)))
        model = Asking(PREPROCESSES[name])
        context = model.context(images, targets, targets)
        for target, moved, placement in zip(targets, context.targets, context.batch.placements, strict=True):
            assert tuple(moved.label_map.shape) == placement.size
            space = torch.tensor([[0.1, 0.2, 1.0], [-0.2, 0.1, 2.0]])
            pixels, expected = space @ target.camera.T, space @ moved.camera.T
            result = placement.points(pixels[:, :2] / pixels[:, 2:])
            assert torch.allclose(result, expected[:, :2] / expected[:, 2:], atol=1e-3)
        assert model(images, targets)["share"].isfinite()

    def test_what_it_asks_for_may_stand_in_the_targets(self, dataset: TrackedCoco):
        images, targets = next(iter(Loader(dataset, batch_size=4)))
        model = Asking(OriginalSize())
        model(images, given=targets)
        assert torch.equal(model.seen[1], targets[1].camera)
        with pytest.raises(InputError, match="asks for camera"):
            model(images)


class TestDataModule:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_reads_what_the_model_needs(self, folder: Path, workers: int):
        data = DataModule(
            folder, batch_size=4, num_workers=workers, mixing=[CopyPaste(1.0)], augmentation=TRANSFORMS["all"]
        )
        model = Asking(ShortestEdge(64, 96), data.num_classes)
        data.read_for(model.learns_from, model.asks_for)
        for images, targets in (next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))):
            assert model(images, targets)["share"].isfinite()

    def test_a_training_sample_depends_on_seed_epoch_and_index_alone(self, dataset: TrackedCoco):
        varied = TrainingDataset(dataset, TRANSFORMS["all"], 3, [CopyPaste(1.0), Mosaic()])
        one, other = varied[4, 1][1], varied[4, 1][1]
        assert torch.equal(one.label_map, other.label_map)
        assert torch.equal(one.track_ids, other.track_ids)


class TestLabelMapFiles:
    def write(self, folder: Path, pixels: np.ndarray, ids=(1, 7), **entry) -> CocoDataset:
        for name in ("images", "labels", "annotations"):
            (folder / name).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((4, 6, 3), np.uint8))
        cv2.imwrite(str(folder / "labels" / "a.png"), pixels)
        image = {"id": 1, "file_name": "a.png", "height": 4, "width": 6, **entry}
        categories = [{"id": key, "name": f"c{key}"} for key in ids]
        path = folder / "annotations" / "a.json"
        path.write_text(json.dumps({"images": [image], "annotations": [], "categories": categories}))
        return CocoDataset(folder / "images", path, reads={"label_map"})

    def test_ids_become_labels_and_the_rest_is_none(self, tmp_path: Path):
        pixels = np.array([[0, 1, 7, 255, 1, 7]] * 4, np.uint8)
        labels = self.write(tmp_path, pixels).target(0).label_map
        assert labels[0].tolist() == [255, 0, 1, 255, 0, 1]

    def test_zero_is_a_class_where_a_category_has_that_id(self, tmp_path: Path):
        labels = self.write(tmp_path, np.array([[0, 3, 255, 0, 0, 0]] * 4, np.uint8), ids=(0, 3)).target(0).label_map
        assert labels[0].tolist() == [0, 1, 255, 0, 0, 0]

    def test_many_classes_are_int16(self, tmp_path: Path):
        pixels = np.array([[0, 1, 300, 65535, 255, 256]] * 4, np.uint16)
        labels = self.write(tmp_path, pixels, ids=range(1, 301)).target(0).label_map
        assert labels.dtype == torch.int16
        assert labels[0].tolist() == [-1, 0, 299, -1, 254, 255]

    @pytest.mark.parametrize(
        ("pixels", "word"),
        [
            (np.full((4, 6), 9, np.uint8), "the value 9"),
            (np.zeros((5, 6), np.uint8), r"is \(5, 6\)"),
            (np.zeros((4, 6, 3), np.uint8), "one channel"),
        ],
    )
    def test_wrong_files_are_named(self, tmp_path: Path, pixels: np.ndarray, word: str):
        dataset = self.write(tmp_path, pixels)
        with pytest.raises(InputError, match=f"a.png: .*{word}"):
            dataset.target(0)

    def test_missing_files_are_named(self, tmp_path: Path):
        with pytest.raises(InputError, match=r"'labels/b\.png' of image 1"):
            self.write(tmp_path, np.zeros((4, 6), np.uint8), label_map="labels/b.png")
        (tmp_path / "other").mkdir()
        dataset = self.write(tmp_path / "other", np.zeros((4, 6), np.uint8))
        (tmp_path / "other" / "labels" / "a.png").unlink()
        with pytest.raises(InputError, match="no image has a label map"):
            CocoDataset(dataset.images_path, dataset.annotations_path, reads={"label_map"})
