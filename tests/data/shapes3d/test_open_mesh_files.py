"""`Shapes3D` names mesh files that are not closed when it is built."""

import pytest

from detkit.data import Shapes3D
from detkit.mesh_files import write_obj, write_ply
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere


class TestOpenMeshFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        ball = icosphere(1)
        write_obj(tmp_path / "ball.obj", ball)
        write_obj(tmp_path / "cup.obj", Meshes([ball.vertices], [ball.faces[4:]]))
        write_ply(tmp_path / "bag.ply", Meshes([ball.vertices], [ball.faces[1:]]))
        return tmp_path

    def test_they_are_named_once(self, folder, caplog):
        for split in ("train", "val"):
            Shapes3D(split, root=folder).reading({"meshes"})
        (said,) = caplog.messages
        assert said.startswith(f"{folder}: bag.ply, cup.obj: not closed, or not all faces are turned alike")
        assert said.endswith("leave them out with names=['ball']")

    def test_not_those_that_are_left_out(self, folder, caplog):
        Shapes3D("val", root=folder, names=["ball"])
        Shapes3D("val")
        assert not caplog.messages
        Shapes3D("val", root=folder, names=["cup"])
        assert caplog.messages[0].endswith("cup.obj: not closed, or not all faces are turned alike, but a voxel head "
                                           "learns from closed meshes alone; give other ones")  # fmt: skip
