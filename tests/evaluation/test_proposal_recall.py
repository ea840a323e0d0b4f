"""Recall of proposals beside pycocotools, which measures it without classes."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.errors import InputError
from detkit.evaluation import ProposalRecall

SEEDS = range(12)


def _case(seed):
    """Annotations of some images, some objects of which are crowds, and proposals near and far from them."""
    random = np.random.default_rng(seed)
    images, annotations, proposals = [], [], {}
    for image_id in range(1, 6):
        images.append({"id": image_id, "width": 200, "height": 150, "file_name": f"{image_id}.png"})
        count = random.integers(0, 6)
        corner, size = random.uniform(0, 100, (count, 2)), random.uniform(5, 90, (count, 2))
        for box in np.concatenate((corner, size), axis=1).round(1).tolist():
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": int(random.integers(3, 6)),
                "bbox": box, "area": box[2] * box[3], "iscrowd": int(random.random() < 0.15),
            })  # fmt: skip
        near = np.repeat(np.concatenate((corner, corner + size), axis=1), 3, axis=0)
        near = near + random.normal(0, 8, near.shape)
        far = np.concatenate((corner, corner + random.uniform(5, 50, corner.shape)), axis=1)
        boxes = random.permutation(np.concatenate((near, far))).round(1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        if image_id != 3:
            proposals[image_id] = torch.tensor(boxes.reshape(-1, 4))
    categories = [{"id": category, "name": str(category)} for category in (3, 4, 5)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}, proposals


def _pycocotools(annotations, proposals, limits):
    results = [
        {
            "image_id": image_id, "category_id": 3, "score": 1 - rank / 1000,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for image_id, boxes in proposals.items()
        for rank, (x1, y1, x2, y2) in enumerate(boxes.tolist())
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(annotations))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0, 0]  # (T, limits)
    numbers = {}
    for index, limit in enumerate(limits):
        numbers[f"AR{limit}"] = recall[:, index].mean()
        numbers[f"recall50_{limit}"] = recall[0, index]
    return numbers


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools_without_classes(seed):
    annotations, proposals = _case(seed)
    limits = [1, 4, 100]
    recall = ProposalRecall(annotations, limits)
    recall.update(list(proposals), list(proposals.values()))
    expected = _pycocotools(annotations, proposals, limits)
    result = recall.compute()
    assert result.keys() == expected.keys()
    np.testing.assert_allclose(list(result.values()), [expected[name] for name in result], atol=1e-12)
    assert 0 < result["AR4"] < 1


def test_nothing_to_find_and_nothing_found(tmp_path):
    annotations, _ = _case(0)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(annotations))
    assert set(ProposalRecall(path).compute().values()) == {0.0}
    assert set(ProposalRecall(annotations | {"annotations": []}).compute().values()) == {-1.0}


def test_refusals_name_what_is_wrong(tmp_path):
    annotations, proposals = _case(0)
    recall = ProposalRecall(annotations)
    with pytest.raises(InputError, match="99"):
        recall.update([99], [proposals[1]])
    with pytest.raises(InputError, match="image 1: a box is not finite"):
        recall.update([1], [torch.tensor([[0.0, 0, float("nan"), 1]])])
    with pytest.raises(InputError, match="2 image ids"):
        recall.update([1, 2], [proposals[1]])
    with pytest.raises(InputError, match="limits"):
        ProposalRecall(annotations, limits=[])
    with pytest.raises(InputError, match=r"absent\.json"):
        ProposalRecall(tmp_path / "absent.json")
