"""The files of ``detkit predict`` for panoptic maps: read back, and read as COCO's panopticapi reads them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.data import ShapesOptions, draw_shapes
from detkit.data.formats.maps.coco_panoptic import CocoPanopticDataset
from detkit.engine.commands.prediction.answer_files import AnswerFiles
from detkit.engine.commands.prediction.prediction_files import Frame, Output
from detkit.structures.image_fields import INSTANCES
from detkit.tasks import Panoptic

FIELDS = {"masks", "panoptic_map"}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A drawn panoptic data set."""
    options = ShapesOptions({"train": 4}, (48, 64), names=("disc", "box"), stuff=("sky", "sand"), max_objects=4, seed=3)
    root = draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)
    return CocoPanopticDataset(root / "images" / "train", root / "annotations" / "panoptic_train.json", None, FIELDS)


def predict_truth(dataset, out, endings=("panoptic.png",), frame=None):
    """Write the true maps as if they were predicted."""
    task = Panoptic()
    sources = [dataset.images_path / name for name in names_of(dataset)]
    copies = {source: out / source.name for source in sources}
    files = AnswerFiles(copies, endings, task, dataset.categories)
    with Output(copies, out / "panoptic.json", dataset.categories, task, files) as output:
        for index, source in enumerate(sources):
            pixels, target = dataset.read(index)
            output.add(Frame(source, str(source), frame, pixels), task.truth(target))
    return json.loads((out / "panoptic.json").read_text())


def names_of(dataset):
    content = json.loads(dataset.annotations_path.read_text())
    names = {one["id"]: one["file_name"] for one in content["images"]}
    return [names[image_id] for image_id in dataset.image_ids]


def test_the_file_is_read_back(truth, tmp_path):
    predict_truth(truth, tmp_path)
    read = CocoPanopticDataset(truth.images_path, tmp_path / "panoptic.json", tmp_path, FIELDS)
    assert read.categories == truth.categories
    assert len(read) == len(truth)
    for index in range(len(truth)):
        found, own = read.target(index), truth.target(index)
        assert torch.equal(found.panoptic_map // INSTANCES, own.panoptic_map // INSTANCES)
        assert sorted(found.labels.tolist()) == sorted(own.labels.tolist())
        # The same parts of the image, whatever their numbers are.
        pairs = torch.unique(torch.stack((found.panoptic_map.flatten(), own.panoptic_map.flatten())), dim=1)
        assert pairs.shape[1] == len(pairs[0].unique()) == len(pairs[1].unique())


def panoptic_quality(truth_json: Path, truth_folder: Path, found: dict, found_folder: Path) -> float:
    """The PQ of all classes, written after panopticapi's ``pq_compute_single_core``, without crowds."""
    truth = json.loads(truth_json.read_text())
    answers = {one["image_id"]: one for one in found["annotations"]}
    sums = {one["id"]: [0.0, 0, 0, 0] for one in truth["categories"]}
    for annotation in truth["annotations"]:
        answer = answers[annotation["image_id"]]
        own_ids, found_ids = (
            np.array(Image.open(folder / one["file_name"]).convert("RGB")).astype(np.int64) @ [1, 256, 65536]
            for folder, one in ((truth_folder, annotation), (found_folder, answer))
        )
        own = {one["id"]: one for one in annotation["segments_info"]}
        predicted = {one["id"]: one for one in answer["segments_info"]}
        present, areas = np.unique(found_ids, return_counts=True)
        assert set(present) - {0} == set(predicted)  # else panopticapi raises KeyError
        for key, area in zip(present.tolist(), areas.tolist(), strict=True):
            assert key == 0 or predicted[key]["area"] == area
            assert key == 0 or predicted[key]["category_id"] in sums
        matched = set()
        for key, one in own.items():
            for other, two in predicted.items():
                if one["category_id"] == two["category_id"]:
                    inside, either = (own_ids == key) & (found_ids == other), (own_ids == key) | (found_ids == other)
                    if inside.sum() > 0.5 * either.sum():
                        sums[one["category_id"]][0] += inside.sum() / either.sum()
                        sums[one["category_id"]][1] += 1
                        matched |= {("own", key), ("found", other)}
        for kind, segments, column in (("own", own, 3), ("found", predicted, 2)):
            for key, one in segments.items():
                sums[one["category_id"]][column] += (kind, key) not in matched
    return float(np.mean([iou / (tp + fp / 2 + fn / 2) for iou, tp, fp, fn in sums.values() if tp + fp + fn]))


def test_it_is_what_panopticapi_reads(truth, tmp_path):
    found = predict_truth(truth, tmp_path)
    assert set(found) == {"images", "annotations", "categories"}
    for image, one in zip(found["images"], found["annotations"], strict=True):
        assert set(image) == {"id", "file_name", "height", "width"}
        assert set(one) == {"image_id", "file_name", "segments_info"}
        with Image.open(tmp_path / one["file_name"]) as png:
            assert (png.mode, png.size) == ("RGB", (image["width"], image["height"]))
    assert all({"id", "name", "isthing"} <= set(one) for one in found["categories"])
    # As the documentation says: the ids of the annotations in place of the paths.
    ids = dict(zip(names_of(truth), truth.image_ids, strict=True))
    for one in found["annotations"]:
        one["image_id"] = ids[Path(one["image_id"]).name]
    source = truth.annotations_path
    assert panoptic_quality(source, truth.maps_path, found, tmp_path) == pytest.approx(1.0)
    lost = found["annotations"][0]["segments_info"]
    lost[0]["category_id"] = next(one["id"] for one in found["categories"] if one["id"] != lost[0]["category_id"])
    assert panoptic_quality(source, truth.maps_path, found, tmp_path) < 0.99


def test_without_pngs_none_is_named(truth, tmp_path):
    found = predict_truth(truth, tmp_path, endings=())
    assert all("file_name" not in one for one in found["annotations"])
    assert not list(tmp_path.glob("*.panoptic.png"))


def test_frames_have_their_number():
    entry = {
        "image_id": "walk.mp4:3",
        "file_name": "walk.mp4",
        "frame": 3,
        "height": 2,
        "width": 5,
        "segments_info": [],
    }
    content = Panoptic().results_content(
        [entry | {"segments_info": []}], [{"panoptic.png": "walk.000003.panoptic.png"}], []
    )
    assert content["images"] == [{"id": "walk.mp4:3", "file_name": "walk.mp4", "height": 2, "width": 5, "frame": 3}]
    assert content["annotations"][0]["file_name"] == "walk.000003.panoptic.png"
