import json
import os
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO

from detkit.data import CocoDataset, ShapesOptions, draw_shapes, find_split, shapes
from detkit.data.shapes import folder, outlines, scene
from detkit.errors import InputError
from detkit.images import read_image

OPTIONS = ShapesOptions(counts={"train": 60, "val": 10}, image_size=(96, 140), crowd_probability=0.3, png_fraction=0.3)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", OPTIONS)


@pytest.fixture(scope="module")
def train(drawn: Path) -> CocoDataset:
    return CocoDataset(*find_split(drawn, "train"), reads=["masks", "keypoints"])


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_layout(drawn: Path):
    assert len(list((drawn / "images" / "train").iterdir())) == 60
    assert len(list((drawn / "images" / "val").iterdir())) == 10
    assert {path.suffix for path in (drawn / "images" / "train").iterdir()} == {".png", ".jpg"}
    assert {path.name for path in (drawn / "annotations").iterdir()} == {"instances_train.json", "instances_val.json"}


def test_same_seed_same_bytes(drawn: Path, tmp_path: Path):
    assert files_of(draw_shapes(tmp_path / "again", OPTIONS)) == files_of(drawn)


def test_images_do_not_depend_on_their_number(drawn: Path, tmp_path: Path):
    few = ShapesOptions(**{**vars(OPTIONS), "counts": {"train": 5, "val": 10}})
    few = files_of(draw_shapes(tmp_path / "few", few))
    many = files_of(drawn)
    images = [name for name in few if name.startswith("images")]
    assert len(images) == 15
    assert all(few[name] == many[name] for name in images)


def test_other_seed_other_images(drawn: Path, tmp_path: Path):
    other = files_of(draw_shapes(tmp_path / "other", ShapesOptions(**{**vars(OPTIONS), "seed": 1})))
    assert not set(other.values()) & set(files_of(drawn).values())
    assert shapes.folder_name(OPTIONS) != shapes.folder_name(ShapesOptions(**{**vars(OPTIONS), "seed": 1}))


def test_sizes_and_counts(train: CocoDataset):
    assert train.image_sizes.min() >= 96
    assert train.image_sizes.max() <= 140
    assert len(np.unique(train.image_sizes, axis=0)) > 30
    counts = [int((~train.target(index).iscrowd).sum()) for index in range(len(train))]
    assert min(counts) >= 1
    assert max(counts) <= 8
    assert max(counts) >= 6


def test_every_class_and_kind_of_annotation_appears(drawn: Path):
    content = json.loads((drawn / "annotations" / "instances_train.json").read_text())
    assert {a["category_id"] for a in content["annotations"]} == set(range(1, 8))
    kinds = Counter((type(a["segmentation"]).__name__, a["iscrowd"]) for a in content["annotations"])
    assert set(kinds) == {("list", 0), ("dict", 0), ("dict", 1)}
    visibilities = {v for a in content["annotations"] for v in a["keypoints"][2::3]}
    assert visibilities == {0, 1, 2}
    assert all(category["keypoints"] and category["skeleton"] for category in content["categories"])


def test_boxes_areas_and_masks_agree(drawn: Path):
    coco = COCO(drawn / "annotations" / "instances_train.json")
    for annotation in coco.anns.values():
        encoded = coco.annToRLE(annotation)
        assert annotation["area"] == rle.area(encoded)
        assert annotation["bbox"] == rle.toBbox(encoded).tolist()
        assert annotation["area"] >= 12
        visible = [v for v in annotation["keypoints"][2::3] if v > 0]
        assert annotation["num_keypoints"] == len(visible)


def test_masks_of_an_image_hardly_overlap(train: CocoDataset):
    """They are of the visible parts; polygons may share border pixels."""
    for index in range(len(train)):
        covered = train.target(index).masks.sum(0)
        assert (covered > 1).sum() <= 0.02 * (covered > 0).sum() + 3


def test_objects_stand_out_from_what_is_around_them(train: CocoDataset):
    """The mean color inside a mask differs from that of the plain background."""
    distances = []
    for index in range(len(train)):
        image, target = train.read(index)
        background = image[~cv2.dilate(target.masks.any(0).numpy().astype(np.uint8), np.ones((3, 3))).astype(bool)]
        for mask in target.objects().masks:
            distances.append(np.linalg.norm(image[mask.numpy()].mean(axis=0) - background.mean(axis=0)))
    assert np.quantile(distances, 0.05) > 40


def test_visible_keypoints_lie_on_their_object(train: CocoDataset):
    for index in range(len(train)):
        target = train.target(index)
        height, width = target.masks.shape[1:]
        for mask, points in zip(target.masks.numpy(), target.keypoints.numpy(), strict=True):
            near = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7)))
            for x, y, visible in points:
                assert (x, y) == (0, 0) or visible
                if visible == 2:
                    assert near[min(int(y), height - 1), min(int(x), width - 1)]


def test_mirror_pairs(train: CocoDataset):
    assert [[train.keypoint_names[k] for k in pair] for pair in train.keypoint_pairs] == [["left", "right"]]


@pytest.mark.parametrize("name", shapes.SHAPE_NAMES)
def test_shapes_look_like_themselves(name: str):
    """Share of the bounding circle that is filled, and holes."""
    random = np.random.default_rng(0)
    shape = scene._shape(random, shapes.SHAPE_NAMES.index(name), np.array([50.0, 50.0]), 30.0, 100, 100)
    share = shape.solid.sum() / (np.pi * 30**2)
    expected = {
        "disc": (0.97, 1.01), "box": (0.3, 0.65), "triangle": (0.39, 0.43), "ring": (0.5, 0.85),
        "star": (0.35, 0.5), "cross": (0.55, 0.7), "crescent": (0.4, 0.7),
    }[name]  # fmt: skip
    assert expected[0] < share < expected[1]
    contours, _ = cv2.findContours(shape.solid.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    assert len(contours) == (2 if name == "ring" else 1)


def test_antialiased_coverage_is_exact_for_a_box():
    outline = np.array([[2.25, 3.0], [10.75, 3.0], [10.75, 8.5], [2.25, 8.5]])
    coverage = outlines.coverage_of(outline, 12, 14)
    assert coverage.sum() == pytest.approx(8.5 * 5.5, rel=0.05)
    assert (coverage[4:7, 4:9] == 1).all()
    assert coverage[5, 2] == pytest.approx(0.75, abs=0.13)
    assert coverage[8, 5] == pytest.approx(0.5, abs=0.13)
    assert coverage[:2].sum() == coverage[:, 12:].sum() == 0


def test_drawn_folder_is_used_again(tmp_path: Path):
    options = ShapesOptions(counts={"train": 2})
    root = draw_shapes(tmp_path / "a", options)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert draw_shapes(root, options) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_options_draw_anew(tmp_path: Path):
    root = draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 2}))
    draw_shapes(root, ShapesOptions(counts={"val": 3}))
    assert not (root / "images" / "train").exists()
    assert len(list((root / "images" / "val").iterdir())) == 3


def test_interrupted_drawing_leaves_nothing(tmp_path: Path, monkeypatch):
    draw_scene, drawn = scene.draw_scene, []

    def interrupted(*arguments):
        drawn.append(1)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw_scene(*arguments)

    monkeypatch.setattr(folder, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 5}))
    assert os.listdir(tmp_path) == []
    draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 5}))
    assert len(list((tmp_path / "a" / "images" / "train").iterdir())) == 5


def test_killed_drawing_is_not_taken_for_a_finished_one(tmp_path: Path):
    """A folder without its marker, as a kill in the middle of an unpacking would leave, is not used."""
    root = draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 2}))
    (root / "shapes.json").write_text('{"version": 1, "cou')
    draw_shapes(root, ShapesOptions(counts={"train": 2}))
    assert json.loads((root / "shapes.json").read_text())["counts"] == {"train": 2}


def test_two_processes_at_once(tmp_path: Path, monkeypatch):
    """The other one finishes while this one still draws."""
    options = ShapesOptions(counts={"train": 2})
    draw_split = folder._draw_split

    def slow(*arguments):
        monkeypatch.setattr(folder, "_draw_split", draw_split)
        draw_shapes(tmp_path / "a", options)
        draw_split(*arguments)

    monkeypatch.setattr(folder, "_draw_split", slow)
    draw_shapes(tmp_path / "a", options)
    assert os.listdir(tmp_path) == ["a"]
    assert len(list((tmp_path / "a" / "images" / "train").iterdir())) == 2


def test_foreign_folder_is_left_alone(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").touch()
    with pytest.raises(InputError, match="other files than drawn shapes"):
        draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 2}))
    assert (tmp_path / "a" / "thesis.txt").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"counts": {}},
        {"counts": {"train": 0}},
        {"image_size": (8, 100)},
        {"image_size": (100, 50)},
        {"names": ()},
        {"names": ("disc", "blob")},
        {"max_objects": 0},
        {"min_object_size": 200.0},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ShapesOptions(**options)


def test_some_shapes_only(tmp_path: Path):
    options = ShapesOptions(counts={"train": 20}, names=("star", "box"), crowd_probability=0.5)
    dataset = CocoDataset(*find_split(draw_shapes(tmp_path / "a", options), "train"))
    assert [category.name for category in dataset.categories] == ["box", "star"]
    labels = {label for index in range(20) for label in dataset.target(index).labels.tolist()}
    assert labels == {0, 1}


def test_noise_is_an_argument(tmp_path: Path):
    def graininess(noise: float) -> float:
        options = ShapesOptions(counts={"train": 20}, noise=noise, png_fraction=1.0, seed=3)
        root = draw_shapes(tmp_path / str(noise), options)
        images = [read_image(path).astype(int) for path in sorted((root / "images" / "train").iterdir())]
        return float(np.mean([np.abs(np.diff(image, axis=1)).mean() for image in images]))

    assert graininess(30.0) > 2 * graininess(0.0)


def test_fast_enough(tmp_path: Path):
    """An image of 25,600 pixels takes some 2,000 calls of functions: nothing is done pixel by pixel."""
    calls = Counter()
    sys.setprofile(lambda frame, event, argument: calls.update([event]))
    try:
        draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 20}, image_size=(160, 160)))
    finally:
        sys.setprofile(None)
    assert 20 * 500 < calls["call"] + calls["c_call"] < 20 * 4000


def test_works_as_a_data_set(train: CocoDataset):
    image, target = train[0]
    assert image.dtype == torch.uint8
    assert [category.name for category in train.categories] == list(shapes.SHAPE_NAMES)
    assert target.masks.shape[1:] == image.shape[1:]
