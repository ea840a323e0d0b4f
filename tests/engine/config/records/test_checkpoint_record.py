"""A checkpoint that is damaged or malformed is refused in one sentence."""

import io
import json
import pickle
import tarfile
import zipfile

import pytest
import torch
from recorded_ssd import SSD
from safetensors.torch import save_file

import detkit
from detkit.engine.checkpoint import build_model, model_record, write_checkpoint
from detkit.errors import InputError
from detkit.structures import Category


@pytest.fixture(scope="module")
def content():
    weights = {f"model.{name}": value for name, value in build_model(SSD, [], "config").state_dict().items()}
    return {"detkit": model_record(SSD, [Category(1, "cat")]), "state_dict": weights}


def nested(depth):
    return [] if depth == 0 else [nested(depth - 1)]


def loop():
    value = []
    value.append(value)
    return value


def bomb():
    value = [1] * 10
    for _ in range(9):
        value = [value] * 10
    return value


def refusal(content, path):
    """The sentence with which `detkit.load` refuses the content."""
    write_checkpoint(content, path)
    with pytest.raises(InputError) as caught:
        detkit.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("SSD", "must have a class_path"),
        ({"class_path": 5}, "must have a class_path"),
        ({"class_path": "SSD", "init_args": [1]}, "init_args must be arguments by name, not a list"),
        ({"class_path": "SSD", "init_args": {1: 2}}, "which is no text"),
        ({"class_path": "SSD", "init_args": {"neck": torch.zeros(2)}}, r"init_args.neck is a Tensor"),
        ({"class_path": "SSD", "init_args": {"neck": nested(100)}}, "nested too deeply"),
        ({"class_path": "SSD", "init_args": {"neck": loop()}}, "nested too deeply"),
        ({"class_path": "SSD", "init_args": {"neck": bomb()}}, "more values than a config can"),
        ({"class_path": "SSD", "init_args": {"num_classes": 10**12}}, "beyond 31 bits"),
        ({"class_path": "SSD", "init_args": {"num_classes": 10**400}}, "beyond"),
        ({"class_path": "Detector", "init_args": {}}, "cannot build the model"),
        ({**SSD, "init_args": {**SSD["init_args"], "num_classes": -3}}, "cannot build the model"),
        ({**SSD, "init_args": {**SSD["init_args"], "num_classes": "many"}}, "num_classes must be int"),
    ],
)
def test_a_model_that_cannot_be_built(content, tmp_path, model, sentence):
    assert sentence in refusal({**content, "detkit": {**content["detkit"], "model": model}}, tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "categories",
    [None, 5, "cat", [5], [{"id": 1}], [{"id": 1, "name": 2}], [{"id": [], "name": "a"}], [{"id": 1, "nom": "a"}]],
)
def test_categories_that_are_none(content, tmp_path, categories):
    record = {**content["detkit"], "categories": categories}
    assert "detkit.categories" in refusal({**content, "detkit": record}, tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "sources",
    [5, "a", [5], [{"name": "a"}], [{"name": "a", "source": "b", "license": 1}], [dict.fromkeys("abc", "a")]],
)
def test_sources_of_weights_that_are_none(content, tmp_path, sources):
    record = {**content["detkit"], "provenance": sources}
    assert "detkit.provenance" in refusal({**content, "detkit": record}, tmp_path / "a.ckpt")


def test_a_recipe_that_is_none(content, tmp_path):
    record = {**content["detkit"], "config": ["a"]}
    assert "detkit.config must hold" in refusal({**content, "detkit": record}, tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        [torch.zeros(1)],
        torch.zeros(3),
        torch.zeros(3, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        torch.empty(1, device="meta"),
        torch.zeros(1).expand(10**12),
    ],
    ids=str,
)
def test_weights_that_are_none(content, tmp_path, value):
    name = next(iter(content["state_dict"]))
    sentence = refusal({**content, "state_dict": {**content["state_dict"], name: value}}, tmp_path / "a.ckpt")
    assert name.removeprefix("model.") in sentence


def test_integers_in_place_of_weights(content, tmp_path):
    whole = {name: value.to(torch.int64) for name, value in content["state_dict"].items()}
    assert "has in another type" in refusal({**content, "state_dict": whole}, tmp_path / "a.ckpt")


@pytest.mark.parametrize("weights", [None, [], 5, {}])
def test_no_weights(content, tmp_path, weights):
    refusal({**content, "state_dict": weights}, tmp_path / "a.ckpt")


def test_each_flipped_byte_of_the_weights_is_noticed(content, tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(content, path)
    before = path.read_bytes()
    for at in range(20_000, len(before) - 20_000, len(before) // 40):
        path.write_bytes(before[:at] + bytes([before[at] ^ 4]) + before[at + 1 :])
        with pytest.raises(InputError, match="truncated, damaged or no checkpoint: Bad CRC-32"):
            detkit.load(path)


def test_an_entry_that_is_in_the_archive_twice(content, tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(content, path)
    with zipfile.ZipFile(path, "a") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(name, archive.read(name))
    with pytest.raises(InputError, match="its archive has an entry twice"):
        detkit.load(path)


def test_a_model_far_larger_than_its_weights_is_not_built(content, tmp_path):
    model = {**SSD, "init_args": {**SSD["init_args"], "num_classes": 60_000}}
    sentence = refusal({**content, "detkit": {**content["detkit"], "model": model}}, tmp_path / "a.ckpt")
    assert "describes a model of more parameters than it has weights for" in sentence


def other_files(tmp_path):
    """Files of other kinds."""
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, tmp_path / "jit.ckpt")
    save_file({"a": torch.zeros(2)}, tmp_path / "safe.ckpt")
    with tarfile.open(tmp_path / "tar.ckpt", "w") as archive:
        archive.add(tmp_path / "safe.ckpt")
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with zipfile.ZipFile(tmp_path / "empty_zip.ckpt", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "pickle.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"detkit": io.StringIO}))
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "json.ckpt").write_text(json.dumps({"detkit": {}}))
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save({"detkit": 5}, tmp_path / "five.ckpt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "loop.ckpt").symlink_to(tmp_path / "loop.ckpt")
    return [*tmp_path.iterdir(), tmp_path / "gone.ckpt", tmp_path / ("long" * 100), "nul\0byte"]


@pytest.mark.filterwarnings("ignore")
def test_other_files_are_refused_in_one_sentence(tmp_path):
    for path in other_files(tmp_path):
        with pytest.raises(InputError) as caught:
            detkit.load(path)
        assert "\n" not in str(caught.value), path
