import errno
import os
import pickle
import subprocess
import sys

import pytest
import torch
from jsonargparse import ArgumentParser
from recipes import FASTER_RCNN
from recorded_ssd import SSD_OF_TWO_CLASSES
from tiny_detector import TinyDetector

import detkit
import detkit.engine.checkpoint
from detkit.engine.checkpoint import check_categories, model_record, read_checkpoint, save_model, write_checkpoint
from detkit.errors import InputError
from detkit.models import Detector, FasterRCNN
from detkit.preprocess import Stretch
from detkit.structures import Category

CATEGORIES = [Category(3, "cat"), Category(7, "dog")]
TINY = {"class_path": "tiny_detector.TinyDetector", "init_args": {"num_classes": 2, "weights": "gone.pth"}}


@pytest.fixture
def saved(tmp_path):
    model = TinyDetector(2)
    model.categories = CATEGORIES
    path = tmp_path / "tiny.ckpt"
    save_model(model, TINY, path)
    return path, model


def test_importing_detkit_does_not_import_torch():
    code = "import sys, detkit; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_comes_back_from_the_file_alone(saved):
    path, model = saved
    loaded = detkit.load(path, trust=["tiny_detector"])
    assert type(loaded) is TinyDetector
    assert not loaded.training
    assert loaded.categories == CATEGORIES
    images = [torch.randint(0, 255, (3, 40, 50), dtype=torch.uint8)]
    with torch.no_grad():
        assert torch.equal(loaded(images)[0].boxes, model.eval()(images)[0].boxes)


def test_faster_rcnn_comes_back_from_short_names(tmp_path):
    torch.manual_seed(0)
    config = {**FASTER_RCNN, "init_args": {**FASTER_RCNN["init_args"], "num_classes": 2}}
    path = tmp_path / "rcnn.ckpt"
    parser = ArgumentParser()
    parser.add_subclass_arguments(Detector, "model")
    model = parser.instantiate(parser.parse_object({"model": config})).model
    save_model(model, config, path)
    loaded = detkit.load(path)
    assert type(loaded) is FasterRCNN
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


class TestAModelThatWasChanged:
    """What a page tells people to set must not be lost."""

    @staticmethod
    def _saved(model, config, tmp_path):
        save_model(model, config, tmp_path / "changed.ckpt")
        return detkit.load(tmp_path / "changed.ckpt")

    @pytest.fixture
    def model(self):
        return detkit.engine.checkpoint.build_model(SSD_OF_TWO_CLASSES, [], "config")

    def test_a_config_that_describes_it_is_written(self, model, tmp_path):
        assert self._saved(model, SSD_OF_TWO_CLASSES, tmp_path).preprocess.size == 64

    def test_another_size_is_refused(self, model, tmp_path):
        model.preprocess.size = 96
        with pytest.raises(InputError, match=r"SSD\.preprocess\.size is 96, but the config builds 64"):
            self._saved(model, SSD_OF_TWO_CLASSES, tmp_path)

    def test_other_means_are_refused(self, model, tmp_path):
        model.preprocess.mean.fill_(0.5)
        with pytest.raises(InputError, match=r"SSD\.preprocess\.mean is \[0\.5, 0\.5, 0\.5\]"):
            self._saved(model, SSD_OF_TWO_CLASSES, tmp_path)

    def test_another_part_is_refused(self, model, tmp_path):
        model.preprocess = Stretch((64, 64))
        with pytest.raises(InputError, match=r"SSD\.preprocess is a Stretch, but the config builds Square"):
            self._saved(model, SSD_OF_TWO_CLASSES, tmp_path)

    def test_saving_draws_no_random_numbers(self, model, tmp_path):
        before = torch.get_rng_state()
        save_model(model, SSD_OF_TWO_CLASSES, tmp_path / "again.ckpt")
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_config_can_be_left_out(self, model, tmp_path):
        assert self._saved(model, None, tmp_path).preprocess.size == 64


class TestSavingWhatCannotBeLoaded:
    """It is refused, and the file that was there stays."""

    def _refused(self, saved, model, sentence, config=TINY, recipe=None):
        path, _ = saved
        before = path.read_bytes()
        with pytest.raises(InputError, match=sentence):
            save_model(model, config, path, recipe)
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_a_recipe_with_an_object(self, saved):
        self._refused(saved, saved[1], r"tiny.ckpt is refused: .*more than", recipe={"root": os.DirEntry})

    def test_a_recipe_with_a_path(self, saved):
        self._refused(saved, saved[1], r"tiny.ckpt is refused: .*save plain values", recipe={"root": saved[0]})

    def test_a_recipe_with_a_huge_number(self, saved):
        self._refused(saved, saved[1], r"detkit.config.steps is a number beyond 63 bits", recipe={"steps": 10**400})

    def test_weights_that_are_no_real_numbers(self, saved):
        model = TinyDetector(2)
        model.score.weight = torch.nn.Parameter(model.score.weight.to(torch.complex64))
        self._refused(saved, model, "score.weight is not a dense tensor of real numbers")

    def test_weights_that_the_config_has_not(self, saved):
        model = TinyDetector(2)
        model.register_buffer("more", torch.zeros(2))
        self._refused(saved, model, r"has in excess \[more\]")

    def test_a_category_without_a_name(self, saved):
        model = TinyDetector(2)
        model.categories = [Category(1, 5), Category(2, "dog")]
        self._refused(saved, model, r"categories\[0\] has the name 5")

    def test_a_class_of_the_running_script(self, saved, monkeypatch):
        monkeypatch.setattr(TinyDetector, "__module__", "__main__")
        self._refused(saved, saved[1], "TinyDetector is defined in the running script")

    def test_numbers_that_are_not_finite_come_back(self, saved):
        path, model = saved
        save_model(model, TINY, path, {"limit": float("inf"), "nothing": float("nan")})
        config = read_checkpoint(path)["detkit"]["config"]
        assert config["limit"] == float("inf")
        assert config["nothing"] != config["nothing"]


def test_pretrained_weights_are_not_needed_again(saved):
    assert read_checkpoint(saved[0])["detkit"]["model"]["init_args"]["weights"] is None


def test_only_names_of_pretrained_weights_are_dropped():
    model = {"class_path": "a.B", "init_args": {"weights": [1.0, 2.0], "trunk": {"init_args": {"weights": "DEFAULT"}}}}
    init_args = model_record(model, [])["model"]["init_args"]
    assert init_args == {"weights": [1.0, 2.0], "trunk": {"init_args": {"weights": None}}}


def test_a_foreign_class_needs_trust(saved):
    with pytest.raises(InputError, match=r"tiny.ckpt asks for tiny_detector.TinyDetector.*trust=\[\"tiny_detector\"\]"):
        detkit.load(saved[0])


@pytest.mark.parametrize(
    "name",
    ["os.system", "detkit.models.vision_model.torch.hub.load", "detkit.models.detector.np.load", "torch.hub.load"],
)
def test_no_name_leads_to_other_code(saved, name):
    path, _ = saved
    content = read_checkpoint(path)
    for init_args in ({"weights": name}, {"width": {"class_path": name, "init_args": {"command": "true"}}}):
        content["detkit"]["model"]["init_args"] = {"num_classes": 2, **init_args}
        write_checkpoint(content, path)
        with pytest.raises(InputError, match="asks for"):
            detkit.load(path, trust=["tiny_detector"])


def test_words_with_dots_are_no_names_of_code(saved):
    path, _ = saved
    content = read_checkpoint(path)
    content["detkit"]["model"]["init_args"]["weights"] = "resnet50.a1_in1k"
    write_checkpoint(content, path)
    detkit.load(path, trust=["tiny_detector"])


def test_code_in_the_file_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    path = tmp_path / "attack.ckpt"
    torch.save({"detkit": Attack()}, path)
    with pytest.raises(InputError, match=r"attack\.ckpt .*refused"):
        detkit.load(path)
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError, match=r"attack\.ckpt is not a checkpoint"):
        detkit.load(path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file(saved, keep):
    path, _ = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"tiny\.ckpt is not a"):
        detkit.load(path)


def test_other_files(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"weights\.pth is not a checkpoint of detkit"):
        detkit.load(path)
    with pytest.raises(InputError, match="does not exist"):
        detkit.load(tmp_path / "none.ckpt")
    with pytest.raises(InputError, match=r"has no checkpoint: neither best\.ckpt nor last\.ckpt"):
        detkit.load(tmp_path)


def test_weights_that_do_not_fit(saved):
    path, _ = saved
    content = read_checkpoint(path)
    weights = content["state_dict"]
    weights["model.extra"] = weights.pop("model.box.bias")
    weights["model.score.weight"] = torch.zeros(3, 3)
    write_checkpoint(content, path)
    with pytest.raises(InputError, match=r"lacks \[box.bias\]; .*excess \[extra\]; .*score.weight \(3, 3\) instead"):
        detkit.load(path, trust=["tiny_detector"])


def test_an_option_that_its_class_does_not_have(saved):
    path, _ = saved
    content = read_checkpoint(path)
    content["detkit"]["model"]["init_args"]["depth"] = 3
    write_checkpoint(content, path)
    with pytest.raises(
        InputError, match=rf"cannot build the model of {path}: model \(TinyDetector\) has no option depth"
    ):
        detkit.load(path, trust=["tiny_detector"])


def test_the_moving_average_is_what_is_loaded(saved):
    path, _ = saved
    content = read_checkpoint(path)
    content["ema"] = {name: torch.full_like(value, 2.0) for name, value in content["state_dict"].items()}
    write_checkpoint(content, path)
    assert (detkit.load(path, trust=["tiny_detector"]).box.bias == 2).all()


def test_a_full_disk_leaves_the_file_before(saved, monkeypatch):
    path, _ = saved
    before = path.read_bytes()

    def full(content, file):
        file.write(b"begun")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"tiny\.ckpt could not be written .*No space left"):
        write_checkpoint({}, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_categories_are_compared_by_name():
    check_categories(CATEGORIES, [Category(1, "dog"), Category(2, "cat")], "a.ckpt", "b.json")
    with pytest.raises(InputError, match=r"a\.ckpt .*2 classes \[cat, dog\], but b\.json has 1 \[cat\]"):
        check_categories(CATEGORIES, [Category(3, "cat")], "a.ckpt", "b.json")
