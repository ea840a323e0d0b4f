"""Masks in image files, against the same masks as pycocotools' run lengths in the annotation file itself."""

import copy
import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from detkit.data import CocoDataset
from detkit.data.conversion import convert
from detkit.data.faults.mask_faults import mask_problems
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.formats.coco_faults import read_coco_with_faults
from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator
from detkit.evaluation.files.detections_file import read_detections
from detkit.structures import Detections, Target

SIZES = [(24, 30), (40, 20), (24, 30)]
SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]


def _masks(seed):
    random = np.random.default_rng(seed)
    masks = []
    for height, width in SIZES:
        mask = np.zeros((height, width), dtype=bool)
        top, left = random.integers(0, 8, 2)
        mask[top : top + 12, left : left + 9] = random.random((12, 9)) < 0.8
        mask[top + 3, left + 4] = True
        masks.append(mask)
    return masks


def _write(path: Path, mask: np.ndarray, mode: str) -> None:
    if mode == "P":  # the index counts, not its color
        image = Image.fromarray(mask.astype(np.uint8) * 3, "P")
        image.putpalette([255, 255, 255] + [0, 0, 0] * 3)
    else:
        image = Image.fromarray(mask.astype(np.uint8) * (1 if mode == "L" else 255)).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _folder(root: Path, masks, annotations_in=".", mode="L", leaves_out=()):
    """Two annotation files of the same images: one names files of masks, one holds them."""
    images, files, runs = [], [], []
    for number, mask in enumerate(masks, start=1):
        name = f"img/{number}.jpg"
        (root / "img").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*mask.shape, 3), 90, np.uint8)).save(root / name)
        _write(root / f"mask/{number}.png", mask, mode)
        images.append({"id": number, "file_name": name, "height": mask.shape[0], "width": mask.shape[1]})
        encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        box = [float(side) for side in rle.toBbox(encoded)]
        entry = {
            "id": number, "image_id": number, "category_id": 1, "bbox": box, "area": float(mask.sum()), "iscrowd": 0,
        }  # fmt: skip
        entry = {key: value for key, value in entry.items() if key not in leaves_out}
        encoded["counts"] = encoded["counts"].decode()
        files.append({**entry, "segmentation": f"mask/{number}.png"})
        runs.append({**entry, "segmentation": encoded})
    paths = []
    for name, annotations in {"files": files, "runs": runs}.items():
        path = root / annotations_in / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        categories = [{"id": 1, "name": "chair"}]
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        paths.append(path)
    return paths


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB"])
@pytest.mark.parametrize("annotations_in", [".", "annotations"])
def test_training_reads_the_pixels_that_are_not_0(tmp_path, mode, annotations_in):
    masks = _masks(0)
    path, _ = _folder(tmp_path, masks, annotations_in, mode)
    dataset = CocoDataset(tmp_path, path, reads=["masks"])
    for index, mask in enumerate(masks):
        target = dataset.target(index)
        assert target.masks.dtype == torch.bool
        assert torch.equal(target.masks, torch.from_numpy(mask)[None])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("leaves_out", [(), ("area",), ("area", "bbox")])
def test_evaluation_equals_that_of_run_lengths(tmp_path, seed, iou_type, leaves_out):
    masks = _masks(seed)
    results = []
    for path in _folder(tmp_path, masks, leaves_out=leaves_out):
        truth = CocoDataset(tmp_path, path).ground_truth()
        assert truth == path
        evaluator = CocoEvaluator(truth, iou_type)
        random = np.random.default_rng(seed)
        for number, mask in enumerate(masks, start=1):
            guess = mask.copy()
            guess[: np.flatnonzero(mask.any(axis=1))[0] + random.integers(1, 4)] = False
            x, y, width, height = rle.toBbox(rle.encode(np.asfortranarray(guess.astype(np.uint8))))
            found = Detections(
                boxes=torch.tensor([[x, y, x + width, y + height]]).float(),
                scores=torch.tensor([0.5 + number / 10]),
                labels=torch.tensor([0]),
                masks=torch.from_numpy(guess)[None],
            )
            evaluator.update([Target(image_id=number)], [found])
        results.append((evaluator.compute(), evaluator.ground_truth.objects))
    (numbers, objects), (expected, expected_objects) = results
    assert numbers == expected
    assert 0 < numbers["AP"] < 1
    assert np.array_equal(objects.areas, expected_objects.areas)
    assert np.array_equal(objects.boxes, expected_objects.boxes)


def test_truth_of_a_part_of_the_images_still_opens_the_files(tmp_path, monkeypatch):
    masks = _masks(0)
    path, _ = _folder(tmp_path, masks)
    (tmp_path / "img/2.jpg").write_bytes(b"broken")
    truth = CocoDataset(tmp_path, path, on_bad_image="skip").ground_truth()
    monkeypatch.chdir("/")
    objects = CocoEvaluator(truth, "segm").ground_truth.objects
    assert objects.areas.tolist() == [masks[0].sum(), masks[2].sum()]


def _without_a_mask(root, path):
    (root / "mask/2.png").unlink()
    return f"{path}: annotation 2 of image 2 has no usable segmentation: its mask file '{root}/mask/2.png' is not there"


def _of_another_size(root, path):
    _write(root / "mask/2.png", np.ones((20, 40), bool), "L")
    return f"{root}/mask/2.png: this mask is (20, 40) (height, width), but its image is (40, 20)"


def _no_image(root, path):
    (root / "mask/2.png").write_bytes(b"text")
    return f"{root}/mask/2.png: this mask cannot be read as an image"


@pytest.mark.parametrize("breaks", [_without_a_mask, _of_another_size, _no_image])
def test_wrong_files_are_named_by_each_reader(tmp_path, breaks):
    path, _ = _folder(tmp_path, _masks(0))
    expected = breaks(tmp_path, path)
    with pytest.raises(InputError) as of_training:
        CocoDataset(tmp_path, path, reads=["masks"]).target(1)
    assert expected in str(of_training.value)
    with pytest.raises(InputError) as of_evaluation:
        CocoEvaluator(path, "segm")
    assert expected in str(of_evaluation.value)
    problems: list[str] = []
    content = read_coco_with_faults(path, problems)
    split = WrittenSplit.of_content("train", content, str(path), tmp_path)
    messages = [*problems, *(example for problem in mask_problems(split) for example in problem.examples)]
    assert any(expected.split(": ")[-1] in message for message in messages), messages


def test_sound_masks_have_no_problems_and_differing_boxes_are_seen(tmp_path):
    path, _ = _folder(tmp_path, _masks(0))
    split = WrittenSplit.of_content("train", read_coco_with_faults(path, []), str(path), tmp_path)
    assert mask_problems(split) == []
    assert mask_problems(WrittenSplit.of(CocoDataset(tmp_path, path))) == []
    split.boxes[1] += [-1, 6, 0, 9]
    assert [problem.name for problem in mask_problems(split)] == ["box_and_mask_differ"]


def test_conversion_writes_the_masks(tmp_path):
    masks = _masks(0)
    path, _ = _folder(tmp_path / "from", masks)
    (tmp_path / "from/runs.json").unlink()
    path.rename(path.with_name("train.json"))
    (tmp_path / "from/img").rename(tmp_path / "from/images")
    content = json.loads((tmp_path / "from/train.json").read_text())
    for image in content["images"]:
        image["file_name"] = image["file_name"].removeprefix("img/")
    (tmp_path / "from/train.json").write_text(json.dumps(content))
    convert(tmp_path / "from", tmp_path / "to", "labelme")
    shape = json.loads(next((tmp_path / "to").rglob("1.json")).read_text())["shapes"][0]
    assert shape["shape_type"] == "mask"
    rows, columns = np.nonzero(masks[0])
    assert shape["points"] == [[columns.min(), rows.min()], [columns.max(), rows.max()]]


def test_detections_name_no_files(tmp_path):
    path, _ = _folder(tmp_path, _masks(0))
    results = tmp_path / "results.json"
    entry = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": str(tmp_path / "mask/1.png")}
    results.write_text(json.dumps([entry]))
    with pytest.raises(InputError, match="none of COCO's forms of a mask"):
        read_detections(results, CocoEvaluator(path, "segm").ground_truth, "segm")


def test_the_given_content_is_not_changed(tmp_path):
    path, _ = _folder(tmp_path, _masks(0))
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = str(tmp_path / annotation["segmentation"])
    before = copy.deepcopy(content)
    CocoEvaluator(content, "segm")
    assert content == before
