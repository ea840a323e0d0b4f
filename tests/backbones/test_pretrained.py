"""Weight files, sound and not, and the report of what became of them."""

import logging
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from detkit.backbones.pretrained import load_matching, read_state_dict
from detkit.errors import InputError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))


def _assert_same(result, expected):
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(result[name], value), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda weights: {"model": weights, "best": 0.5},
        lambda weights: {"state_dict": {"model": weights}},
    ],
    ids=["plain", "state_dict", "model", "both"],
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_state_dict_is_found_plain_or_wrapped(tmp_path, net, wrap, as_zip):
    path = tmp_path / "net.pth"
    torch.save(wrap(net.state_dict()), path, _use_new_zipfile_serialization=as_zip)
    _assert_same(read_state_dict(path), net.state_dict())
    _assert_same(read_state_dict(str(path)), net.state_dict())


def test_safetensors(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    _assert_same(read_state_dict(tmp_path / "net.safetensors"), net.state_dict())


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(InputError, match=f"weights file {path} does not exist"):
            read_state_dict(path)


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, net, as_zip, share):
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=as_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        InputError, match=r"net\.pth (cannot be read, it is truncated|is refused: it is no weights file)"
    ):
        read_state_dict(path)


def test_truncated_safetensors_are_refused(tmp_path, net):
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"net\.safetensors cannot be read, it is truncated"):
        read_state_dict(path)


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\n", "<!DOCTYPE html>", "hello"])
def test_text_is_no_weights_file(tmp_path, text):
    (tmp_path / "net.pth").write_text(text)
    with pytest.raises(InputError, match=r"net\.pth .*no weights file"):
        read_state_dict(tmp_path / "net.pth")


class _Trap:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_a_file_with_code_is_refused_and_not_run(tmp_path, net, save):
    content, path = {"weight": torch.zeros(1), "trap": _Trap(tmp_path / "sprung")}, tmp_path / "net.pth"
    if save == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"net\.pth is refused: .* save a state dict"):
        read_state_dict(path)
    assert not (tmp_path / "sprung").exists()


def test_a_whole_module_is_refused(tmp_path, net):
    torch.save(net, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"is refused: .* save a state dict"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": 3}, torch.zeros(2), {1: torch.zeros(2)}])
def test_something_else_than_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"net\.pth does not hold a state dict"):
        read_state_dict(tmp_path / "net.pth")


def test_the_report_accounts_for_every_tensor(net):
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 9, 1), nn.Linear(2, 2))
    weights = other.state_dict()
    del weights["1.running_mean"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = load_matching(net, weights, "other.pth")
    assert report.source == "other.pth"
    assert report.matched == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_var", "1.num_batches_tracked"),
    ]
    assert report.missing == ["1.running_mean"]
    assert report.unexpected == ["3.weight", "3.bias"]
    assert report.mismatched == [("2.weight", (9, 4, 1, 1), (5, 4, 1, 1)), ("2.bias", (9,), (5,))]
    for name, value in net.state_dict().items():
        assert torch.equal(value, weights[name] if name in report.matched else before[name]), name


def test_the_report_reads_as_text(net):
    weights = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 9, 1)).state_dict()
    del weights["1.weight"]
    weights["head.bias"] = torch.zeros(3)
    assert str(load_matching(net, weights, "a.pth")).splitlines() == [
        "a.pth: loaded 6 of 9 tensors",
        "  1 not in the file, left as initialized: 1.weight",
        "  1 in the file, not used: head.bias",
        "  2 of another shape, left as initialized: 2.weight (file (9, 4, 1, 1), model (5, 4, 1, 1)), "
        "2.bias (file (9,), model (5,))",
    ]


@pytest.mark.parametrize(("left_out", "level"), [("head", logging.INFO), ("2.weight", logging.WARNING)])
def test_what_is_left_out_of_the_net_is_a_warning(net, caplog, left_out, level):
    weights = {"head": torch.zeros(1), **net.state_dict()}
    del weights[left_out]
    with caplog.at_level(logging.INFO, logger="detkit"):
        load_matching(net, weights, "a.pth")
    assert [record.levelno for record in caplog.records] == [level]
    assert caplog.records[0].getMessage().startswith("a.pth: loaded")


def test_older_files_need_not_count_batches(net):
    weights = {name: value for name, value in net.state_dict().items() if "num_batches_tracked" not in name}
    report = load_matching(net, weights, "old.pth")
    assert report.missing == []


def test_if_nothing_fits_the_first_names_of_both_are_told(net):
    weights = {f"module.{name}": value for name, value in net.state_dict().items()}
    with pytest.raises(InputError, match=r"none of its 9 tensors fits; it begins with 'module\.0\.weight', the model"):
        load_matching(net, weights, "parallel.pth")
    with pytest.raises(InputError, match="none of its 0 tensors fits"):
        load_matching(net, {}, "empty.pth")
