"""Objects without a shape, and open surfaces, are listed among the faults of a split."""

from __future__ import annotations

import pytest
from written_cases import kinds, split

from detkit.data.faults.shape_faults import shape_problems

KINDS = {"model": "objects_without_mesh", "voxel": "objects_without_voxels"}


@pytest.mark.parametrize("key", KINDS)
class TestObjectsWithoutShape:
    def test_they_are_notes(self, key):
        shape = {key: "not/there.obj"}
        problems = shape_problems(split(shape, {}, {}, {"iscrowd": 1}))
        (problem,) = [one for one in problems if one.name == KINDS[key]]
        assert (problem.level, problem.count) == ("note", 2)
        assert problem.sentence == f"2 objects have no {'mesh' if key == 'model' else 'voxels'}, though others have"
        assert "0.png, annotation 11" in problem.examples[0]
        assert problem.objects == [[1], [2]]

    def test_none_where_no_object_has_one(self, key):
        assert not shape_problems(split({}, {}))
        other = "voxel" if key == "model" else "model"
        assert KINDS[key] not in kinds(shape_problems(split({other: "a.obj"}, {other: "b.obj"})))
        assert KINDS[key] not in kinds(shape_problems(split({key: "a.obj"}, {"iscrowd": 1})))
