"""Files of detectron2 are read without running code from them."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.weights.detectron2_file import read_detectron2


class _Code:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_the_zoo_are_read(tmp_path, protocol):
    weights = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.array([1, 2], dtype=np.int64)}
    content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True, "one": np.float32(2)}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_detectron2(tmp_path / "model.pkl")
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)


def test_arrays_as_numpy_1_and_python_2_wrote_them(tmp_path):
    # pickle.dumps({"w": np.array([1.5], np.float32)}, 2) of numpy 1.16 and Python 2.7
    content = (
        b"\x80\x02}q\x01U\x01wq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x01\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x04\x00\x00\xc0?tbs."
    )
    (tmp_path / "old.pkl").write_bytes(content)
    np.testing.assert_array_equal(read_detectron2(tmp_path / "old.pkl")["w"], [1.5])


def test_tensors_of_a_training_are_read(tmp_path):
    torch.save({"model": OrderedDict(a=torch.ones(2)), "iteration": 3}, tmp_path / "model_final.pth")
    assert torch.equal(read_detectron2(tmp_path / "model_final.pth")["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"model": _Code()}), "is refused: it holds more than arrays, names and numbers"),
        (pickle.dumps([1]), "holds a list and no arrays"),
        (pickle.dumps({"a": np.ones(100)})[:-60], "damaged or no pickle"),
        (b"text", "damaged or no pickle|is refused"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message, capsys):
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_detectron2(tmp_path / "model.pkl")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match=r"gone.pkl cannot be read"):
        read_detectron2(tmp_path / "gone.pkl")
