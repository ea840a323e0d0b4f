"""A panoptic model from two data sets that have one kind of label each: objects alone, and maps alone."""

import json
import shutil

import pytest
import torch

from detkit.data import DataModule, DataSource, draw_shapes
from detkit.data.shapes.options import ShapesOptions
from detkit.errors import InputError
from detkit.learners import JoinedSources, TrainingBatch

FIELDS = frozenset({"masks", "panoptic_map"})


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two folders of Shapes: one without maps, and one whose file has no objects."""
    folder = tmp_path_factory.mktemp("two")
    drawn = []
    for name, seed in (("objects", 1), ("maps", 2)):
        options = ShapesOptions(
            counts={"train": 4, "val": 2}, image_size=(40, 48), names=("disc", "box"), stuff=("sky",), seed=seed
        )
        drawn.append(draw_shapes(folder / name, options))
    objects, maps = drawn
    for found in [*objects.glob("annotations/panoptic_*"), objects / "labels"]:
        shutil.rmtree(found) if found.is_dir() else found.unlink()
    for file in maps.glob("annotations/instances_*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    return objects, maps


def make_data(roots, **options):
    objects, maps = roots
    source = DataSource("maps", maps, batch_size=3, lacks=["boxes", "masks"])
    data = DataModule(objects, batch_size=2, num_workers=0, sources=[source], **options)
    data.read_for(FIELDS)
    return data


def test_each_image_has_the_labels_of_its_data_set(roots):
    data = make_data(roots, lacks=["panoptic_map"])
    batch = TrainingBatch.of(next(iter(data.train_dataloader())))
    assert all(one.panoptic_map is None and one.masks is not None for one in batch.targets)
    found = batch.sources["maps"].targets
    assert len(found) == 3
    assert all(one.boxes is None and one.labels is None and one.masks is None for one in found)
    assert all(one.panoptic_map is not None for one in found)


def test_a_step_takes_them_as_one_batch(roots):
    class Model:
        def __call__(self, images, targets):
            self.seen = images, targets
            return {"loss": torch.zeros(())}

    batch = TrainingBatch.of(next(iter(make_data(roots, lacks=["panoptic_map"]).train_dataloader())))
    model = Model()
    assert JoinedSources(["maps"]).losses(model, batch).keys() == {"loss"}
    images, targets = model.seen
    assert len(images) == len(targets) == 5
    assert [one.boxes is None for one in targets] == [False, False, True, True, True]


def test_data_that_lacks_a_field_unsaid_is_refused(roots):
    with pytest.raises(InputError, match="panoptic"):
        _ = make_data(roots).train_dataset


def test_wrong_options_are_refused(roots):
    with pytest.raises(InputError, match=r"data\.lacks names boxes"):
        DataModule(roots[0], lacks=["boxes"])
    with pytest.raises(InputError, match="name of a data source"):
        JoinedSources([])
