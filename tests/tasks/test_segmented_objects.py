"""The task of objects that are made of pixels: answers, refusals, and graphs that are put back together."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detkit.backbones import UNetEncoder
from detkit.errors import InputError
from detkit.models import ConnectedObjects, UNet
from detkit.preprocess import ShortestEdge
from detkit.structures import Category, Target
from detkit.tasks import SegmentedObjects, task_of
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.testing import check_task

CELLS = [Category(0, "background", is_thing=False), Category(1, "cell"), Category(2, "border", is_thing=False)]


def _model(preprocess=None, padded=True):
    torch.manual_seed(1)
    objects = ConnectedObjects(border="border")
    model = UNet(UNetEncoder(1 / 32, padded=padded), 3, preprocess=preprocess, objects=objects).eval()
    model.categories = CELLS
    return model


def test_it_keeps_the_rules_of_tasks():
    panoptic_map = torch.zeros(20, 30, dtype=torch.int32)
    panoptic_map[3:9, 4:12], panoptic_map[11:19, 20:28], panoptic_map[10] = 65537, 65538, 2 * 65536
    values = torch.tensor([65537, 65538])
    target = Target(
        torch.tensor([[4.0, 3, 12, 9], [20, 11, 28, 19]]), torch.tensor([1, 1]), image_id=1,
        masks=panoptic_map == values[:, None, None], panoptic_map=panoptic_map,
        label_map=(panoptic_map // 65536).to(torch.uint8),
    )  # fmt: skip
    task = SegmentedObjects()
    check_task(task, np.full((20, 30, 3), 90, np.uint8), task.truth(target), CELLS, target)


def test_a_model_with_objects_names_it():
    assert isinstance(task_of(_model()), SegmentedObjects)


def test_data_without_stuff_or_of_one_class_is_refused():
    dataset = SimpleNamespace(packed_annotations=None, annotations_path="cells.json")
    model = SimpleNamespace(learns_from={"label_map"})
    for categories, match in (
        ([Category(1, "cell")], "has the single class 'cell'"),
        ([Category(1, "cell"), Category(2, "dot")], "all 2 classes of cells.json are things"),
    ):
        with pytest.raises(InputError, match=match):
            SegmentedObjects().check_data(model, SimpleNamespace(train_dataset=dataset, categories=categories))
    SegmentedObjects().check_data(model, SimpleNamespace(train_dataset=dataset, categories=CELLS))


@pytest.mark.parametrize(("preprocess", "padded"), [(None, True), (ShortestEdge(64, 96), True), (None, False)])
@torch.no_grad()
def test_a_graph_answers_as_the_model(preprocess, padded):
    model, task = _model(preprocess, padded), SegmentedObjects()
    images = [torch.rand(3, 48, 70, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    context = model.context(images)
    raw = model.heads(model.features(context.batch), context)
    outputs = model.decode_padded(raw, context)
    assert set(task.export(model)) == set(outputs)
    assert task.outputs_differ(outputs, outputs, Tolerance(1e-3, 0.1)) is None
    found = task.exported_answers(model, outputs, context.batch)
    for one, expected in zip(found, model(images), strict=True):
        assert torch.equal(one.panoptic_map, expected.panoptic_map)
        assert torch.equal(one.scores, expected.scores)
        assert torch.equal(one.label_map, expected.label_map)
