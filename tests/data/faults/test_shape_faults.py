"""Objects without a shape, and open surfaces, are listed among the faults of a split."""

from __future__ import annotations

import numpy as np
import pytest
from pix3d_folder import CORNERS, FACES, write_obj
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


POSE = {"rot_mat": np.eye(3).tolist(), "trans_mat": [0, 0, 2.0], "K": [100, 50, 50]}


class TestOpenMeshes:
    @pytest.fixture
    def paths(self, tmp_path):
        """Of a closed mesh, of one without a face, and of the closed one with three corners of its own per face."""
        write_obj(tmp_path / "closed.obj")
        write_obj(tmp_path / "open.obj", faces=FACES[1:])
        write_obj(tmp_path / "unmerged.obj", CORNERS[FACES].reshape(-1, 3), np.arange(FACES.size).reshape(-1, 3))
        return {path.stem: str(path) for path in tmp_path.glob("*.obj")}

    def test_they_are_named_once_per_object(self, paths):
        models = [paths[name] for name in ("open", "closed", "unmerged", "open")]
        (problem,) = shape_problems(split(*({"model": path, **POSE} for path in models)))
        assert (problem.name, problem.level, problem.count) == ("open_meshes", "warning", 2)
        assert problem.sentence.startswith("the meshes of 2 of 4 objects whose files were read are not closed")
        assert "voxel_head.init_args.truth: voxels" in problem.advice
        assert problem.examples == [f"0.png, annotation {number}: {paths['open']}" for number in (10, 13)]
        assert problem.objects == [[0], [3]]

    def test_a_note_where_all_have_voxels(self, paths, tmp_path):
        header = b"#binvox 1\ndim 1 1 1\ntranslate 0 0 0\nscale 1\ndata\n"
        (tmp_path / "v.binvox").write_bytes(header + bytes([1, 1]))
        shape = {"model": paths["open"], "voxel": str(tmp_path / "v.binvox"), **POSE}
        assert [(one.name, one.level) for one in shape_problems(split(shape, shape))] == [("open_meshes", "note")]
        del shape["voxel"]
        assert "open_meshes" not in kinds(shape_problems(split({**shape, "model": paths["closed"]})))

    def test_broken_files_are_none(self, tmp_path):
        (tmp_path / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
        assert kinds(shape_problems(split({"model": str(tmp_path / "broken.obj"), **POSE}))) == {"wrong_shape_files": 1}
