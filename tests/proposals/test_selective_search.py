"""Selective search on drawn and on real images, and its files on disk."""

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from detkit.data import ShapesOptions, draw_shapes
from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.proposals import CachedProposals, Proposals, SelectiveSearch

MODES = ["fast", "quality"]


def _read(path):
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)


def _recall(annotations, image_of, search):
    recalled = objects = 0
    for image in annotations["images"]:
        boxes = [a["bbox"] for a in annotations["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        if not boxes:
            continue
        boxes = torch.tensor(boxes).float()
        boxes[:, 2:] += boxes[:, :2]
        best = box_iou(boxes, search(image_of(image))).amax(dim=1)
        recalled, objects = recalled + int((best >= 0.5).sum()), objects + len(boxes)
    return recalled / objects


@pytest.fixture(scope="module")
def image():
    pixels = np.full((90, 120, 3), 60, np.uint8)
    cv2.rectangle(pixels, (20, 15), (59, 54), (220, 40, 40), -1)
    cv2.circle(pixels, (90, 60), 18, (40, 200, 90), -1)
    noise = np.random.default_rng(0).integers(-8, 9, pixels.shape)
    return torch.from_numpy((pixels + noise).astype(np.uint8)).permute(2, 0, 1)


class TestSelectiveSearch:
    @pytest.mark.parametrize("mode", MODES)
    def test_finds_what_is_there(self, image, mode):
        boxes = SelectiveSearch(mode)(image)
        objects = torch.tensor([[20.0, 15, 60, 55], [72, 42, 109, 79]])
        assert (box_iou(objects, boxes).amax(dim=1) > 0.85).all()

    @pytest.mark.parametrize("mode", MODES)
    def test_boxes_are_distinct_and_inside(self, image, mode):
        search = SelectiveSearch(mode, min_size=20)
        boxes = search(image)
        assert boxes.dtype == torch.float32
        assert len(boxes.unique(dim=0)) == len(boxes) > 1
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([120.0, 90.0]) + 1e-3).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 20 * 90 / 375 - 1e-3).all()

    def test_is_the_same_each_time_and_for_float_images(self, image):
        search = SelectiveSearch()
        boxes = search(image)
        assert torch.equal(search(image), boxes)
        assert torch.equal(search(image.float() / 255), boxes)

    def test_fewer_proposals_are_the_first_ones(self, image):
        boxes = SelectiveSearch()(image)
        assert torch.equal(SelectiveSearch(max_proposals=10)(image), boxes[:10])

    def test_one_color_is_one_region(self):
        boxes = SelectiveSearch()(torch.full((3, 40, 60), 128, dtype=torch.uint8))
        assert boxes.tolist() == [[0, 0, 60, 40]]

    @pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 400)])
    def test_an_image_below_the_least_size_has_none(self, size):
        assert SelectiveSearch(width=None)(torch.zeros(3, *size)).shape == (0, 4)

    def test_refuses_what_it_cannot_do(self):
        with pytest.raises(InputError, match="fast, quality"):
            SelectiveSearch("slow")
        with pytest.raises(InputError, match="at least 1"):
            SelectiveSearch(max_proposals=0)
        with pytest.raises(InputError, match=r"\(3, H, W\), got \(1, 4, 4\)"):
            SelectiveSearch()(torch.zeros(1, 4, 4))

    @pytest.mark.slow
    def test_recall_on_drawn_shapes(self, tmp_path):
        options = ShapesOptions(counts={"val": 20}, image_size=(112, 144), crowd_probability=0.0)
        root = draw_shapes(tmp_path / "shapes", options)
        annotations = json.loads((root / "annotations" / "instances_val.json").read_text())
        images = root / "images" / "val"
        assert _recall(annotations, lambda image: _read(images / image["file_name"]), SelectiveSearch()) >= 0.9

    def test_recall_on_blood_cells(self, shared):
        annotations = json.loads((shared / "data/bccd/annotations/instances_test.json").read_text())
        annotations["images"] = annotations["images"][:6]
        result = {path.name: path for path in (shared / "data/bccd/images").rglob("*.*")}
        assert _recall(annotations, lambda image: _read(result[image["file_name"]]), SelectiveSearch()) >= 0.85


class Counted(Proposals):
    """Counts how often it is asked."""

    identity = "counted 1"

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return torch.tensor([[0.0, 0, image.shape[2], image.shape[1]]])


class TestCachedProposals:
    def test_computes_an_image_once(self, tmp_path):
        counted = Counted()
        images = [torch.zeros(3, 4, 6), torch.zeros(3, 6, 4), torch.ones(3, 4, 6), torch.zeros(3, 4, 6).byte()]
        for _ in range(2):
            for image in images:
                boxes = CachedProposals(counted, tmp_path / "new" / "folder")(image)
                assert boxes.tolist() == [[0, 0, image.shape[2], image.shape[1]]]
        assert counted.calls == 4

    def test_other_settings_are_other_files(self, tmp_path, image):
        many = CachedProposals(SelectiveSearch(), tmp_path)(image)
        few = CachedProposals(SelectiveSearch(max_proposals=5), tmp_path)(image)
        assert len(few) == 5 < len(many)

    @pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no proposals at all"])
    def test_a_damaged_file_is_computed_again(self, tmp_path, damage):
        counted = Counted()
        cached = CachedProposals(counted, tmp_path)
        expected = cached(torch.zeros(3, 4, 6))
        (path,) = tmp_path.iterdir()
        path.write_bytes(damage)
        with pytest.warns(UserWarning, match=path.name):
            assert torch.equal(cached(torch.zeros(3, 4, 6)), expected)
        assert torch.equal(cached(torch.zeros(3, 4, 6)), expected)
        assert counted.calls == 2

    def test_a_file_of_something_else_is_computed_again(self, tmp_path):
        cached = CachedProposals(Counted(), tmp_path)
        cached(torch.zeros(3, 4, 6))
        (path,) = tmp_path.iterdir()
        np.save(path, np.zeros((2, 3)))
        with pytest.warns(UserWarning, match="no boxes"):
            assert len(cached(torch.zeros(3, 4, 6))) == 1

    def test_many_at_once_leave_whole_files(self, tmp_path, image):
        cached = CachedProposals(SelectiveSearch(), tmp_path)
        with ThreadPoolExecutor(8) as pool:
            result = list(pool.map(cached, [image] * 8))
        assert all(torch.equal(boxes, result[0]) for boxes in result)
        assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]

    def test_nothing_is_left_where_computing_fails(self, tmp_path):
        with pytest.raises(InputError):
            CachedProposals(SelectiveSearch(), tmp_path)(torch.zeros(1, 4, 4))
        assert list(tmp_path.iterdir()) == []
