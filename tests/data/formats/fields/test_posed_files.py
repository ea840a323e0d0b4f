"""Objects that name no file of their shape are counted when a file is opened."""

from __future__ import annotations

import json
import logging

import pytest
from pix3d_folder import write_pix3d

from detkit.data import CocoDataset, DataModule


def _without(path, key, crowd=False):
    """Take the file of the shape from the second of three objects, perhaps as a crowd."""
    content = json.loads(path.read_text())
    del content["annotations"][1][key]
    content["annotations"][1]["iscrowd"] = int(crowd)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("field", "key"), [("meshes", "model"), ("voxels", "voxel")])
class TestObjectsWithoutShape:
    def test_they_are_counted(self, tmp_path, caplog, field, key):
        path = write_pix3d(tmp_path)
        _without(path, key)
        with caplog.at_level(logging.WARNING):
            dataset = CocoDataset(tmp_path, path, reads=[field])
        assert caplog.messages == [
            f"{path}: 1 of 3 objects have no {key!r} (first: annotation 2 of image 2): they teach no shape"
        ]
        assert [getattr(dataset.target(index), field) is None for index in range(3)] == [False, True, False]

    def test_once_in_a_training(self, tmp_path, caplog, field, key):
        train = write_pix3d(tmp_path)
        val = write_pix3d(tmp_path, name="pix3d_s1_test.json")
        _without(train, key)
        data = DataModule(root=tmp_path, train_annotations=train, val_annotations=val)
        data.read_for([field], ["camera"])
        with caplog.at_level(logging.WARNING):
            data.setup("fit")
            data.train_dataset.target(1)
        assert len([message for message in caplog.messages if "teach no shape" in message]) == 1

    def test_not_where_all_have_one_nor_of_crowds(self, tmp_path, caplog, field, key):
        path = write_pix3d(tmp_path)
        with caplog.at_level(logging.WARNING):
            CocoDataset(tmp_path, path, reads=[field])
            _without(path, key, crowd=True)
            CocoDataset(tmp_path, path, reads=[field])
            CocoDataset(tmp_path, path, reads=["masks"])
        assert caplog.messages == []
