"""check_dataset takes every data set of detkit, and names each rule that a broken one breaks."""

import numpy as np
import pytest
import torch

from detkit.data import CocoDataset, ImageDataset, ShapesOptions, draw_shapes, find_split, open_split
from detkit.data.conversion import convert
from detkit.structures import Category, PointClouds, Target
from detkit.structures.meshes import icosphere
from detkit.testing import ContractError, check_dataset
from detkit.visualization import write_image


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    options = ShapesOptions({"train": 6, "val": 3}, (48, 64), max_objects=3, crowd_probability=0.5)
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


class TestOursPass:
    def test_coco(self, shapes):
        check_dataset(CocoDataset(*find_split(shapes, "train")).reading({"masks", "keypoints"}))

    def test_coco_with_a_class_for_each_image(self, shapes):
        check_dataset(CocoDataset(*find_split(shapes, "val")).with_image_labels("largest"), num_workers=0)

    @pytest.mark.parametrize("name", ["voc", "yolo"])
    def test_of_other_formats(self, shapes, tmp_path, name):
        convert(shapes, tmp_path / name, name)
        check_dataset(open_split(tmp_path / name, "train"), num_workers=0)

    def test_folders_of_a_class_each(self, tmp_path):
        for row in range(4):
            path = tmp_path / "train" / ("cat", "dog")[row % 2] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, np.full((20, 30, 3), 40 * row, np.uint8))
        check_dataset(open_split(tmp_path, "train"), num_workers=0)


SIZE = (48, 64)


class Squares(ImageDataset):
    """What the mutants change."""

    ids = (3, 4, 5)

    @property
    def categories(self):
        return [Category(1, "square"), Category(5, "disc")]

    @property
    def image_ids(self):
        return list(self.ids)

    @property
    def image_sizes(self):
        return np.full((3, 2), SIZE)

    def read(self, index):
        return np.full((*SIZE, 3), 60 * index, np.uint8), self.made(index)

    def made(self, index, low=10.0, label=1, **fields):
        box = torch.tensor([[low, 10, 30 + index, 30]])
        return Target(box, torch.tensor([label]), **{"image_id": self.ids[index], **fields})


class IdsAsLabels(Squares):
    def read(self, index):
        return super().read(index)[0], self.made(index, label=5)


class WidthsForCorners(Squares):
    def read(self, index):
        return super().read(index)[0], self.made(index, low=40.0)


class OtherIds(Squares):
    def read(self, index):
        return super().read(index)[0], self.made(index, image_id=index)


class Floats(Squares):
    def read(self, index):
        image, target = super().read(index)
        return image / 255, target


class OtherSizes(Squares):
    @property
    def image_sizes(self):
        return np.full((3, 2), SIZE[::-1])


class TwiceTheSameId(Squares):
    ids = (3, 3, 5)


class MixedIds(Squares):
    ids = (3, "4", 5)


class Unsorted(Squares):
    @property
    def categories(self):
        return super().categories[::-1]


class Augmented(Squares):
    def read(self, index):
        image, target = super().read(index)
        return np.random.default_rng().integers(0, 255, image.shape, np.uint8), target


class WithMeshes(Squares):
    """A mesh and points for each object, made anew at each reading."""

    def made(self, index, shift=0.0, **fields):
        ball = icosphere(1)
        meshes = ball.with_vertices(ball.vertices + torch.tensor([shift, 0, 5]))
        return super().made(index, meshes=meshes, voxels=PointClouds([torch.full((2, 3), 5.0)]), **fields)


class OtherMeshes(WithMeshes):
    def target(self, index):
        return self.made(index, shift=0.1)


class OtherTarget(Squares):
    def target(self, index):
        return self.made(index, low=11.0)


class WithoutTheEmpty(Squares):
    def ground_truth(self):
        content = super().ground_truth()
        return {**content, "images": content["images"][1:], "annotations": content["annotations"][1:]}


class OtherTruth(Squares):
    def ground_truth(self):
        content = super().ground_truth()
        return {**content, "annotations": content["annotations"][:-1]}


class NotForWorkers(Squares):
    def __init__(self):
        self.open = lambda: None


class SilentLabels(Squares):
    @property
    def has_image_labels(self):
        return True


class Takes(Squares):
    def reading(self, names):
        return self


class SmallMasks(Squares):
    def read(self, index):
        masks = torch.ones(1, 24, 32, dtype=torch.bool)
        return super().read(index)[0], self.made(index, masks=masks)


class WidthsThatPassForCorners(Squares):
    """x y width height, which are valid as x1 y1 x2 y2: an object at 5 5 to 35 35."""

    def made(self, index, **fields):
        box, area = torch.tensor([[5.0, 5, 30, 30]]), torch.tensor([900.0])
        return Target(box, torch.tensor([1]), image_id=self.ids[index], **{"area": area, **fields})


class WidthsThatPassForCornersOfMasks(WidthsThatPassForCorners):
    def made(self, index):
        masks = torch.zeros(1, *SIZE, dtype=torch.bool)
        masks[:, 33:47, 5:60] = True
        return super().made(index, area=None, masks=masks)


class DoubleBoxes(Squares):
    def made(self, index):
        return Target(torch.ones(1, 4).double(), torch.tensor([1]), image_id=self.ids[index])


def test_an_error_of_read_stands_alone():
    with pytest.raises(ContractError, match=r"read raises TypeError: .* must be torch.float32, got torch.float64$"):
        check_dataset(DoubleBoxes(), num_workers=0)


def test_the_mutants_are_of_a_sound_one():
    check_dataset(Squares(), num_workers=0)
    check_dataset(WithMeshes(), num_workers=0)


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (IdsAsLabels, r"labels must lie in 0..1, positions in categories and not ids: got \[5\]"),
        (WidthsForCorners, r"boxes must be x1 y1 x2 y2 with x1 < x2"),
        (WidthsThatPassForCorners, r"the areas of 3 of 3 objects do not fit into their boxes: give boxes as x1 y1"),
        (WidthsThatPassForCornersOfMasks, r"the masks of 3 of 3 objects do not fit into their boxes"),
        (OtherIds, r"its target has image_id 0: it must be that of image_ids"),
        (Floats, r"read must give an RGB array \(H, W, 3\) uint8: got .* float64"),
        (OtherSizes, r"image_sizes says \(64, 48\) \(height, width\), but the image has \(48, 64\)"),
        (TwiceTheSameId, r"image_ids must be unique"),
        (MixedIds, r"all of Python's int or all str: got int, str"),
        (Unsorted, r"categories must be sorted by id"),
        (Augmented, r"not the same when it is read a second time"),
        (OtherMeshes, r"target\(index\) and read\(index\)\[1\] differ"),
        (OtherTarget, r"target\(index\) and read\(index\)\[1\] differ"),
        (WithoutTheEmpty, r"ground_truth has no image \[3\]"),
        (OtherTruth, r"image 5 has 0 objects .* but its target 1"),
        (NotForWorkers, r"pickle.dumps of the NotForWorkers raises"),
        (SilentLabels, r"image_label is None, but has_image_labels is True"),
        (Takes, r"reading takes the field 'no_such_field'"),
        (SmallMasks, r"its masks have \(24, 32\) pixels"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule(mutant, words):
    with pytest.raises(ContractError, match=words):
        check_dataset(mutant(), num_workers=0)
