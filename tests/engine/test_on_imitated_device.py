"""Every small recipe on a GPU that is imitated: a step, the validation, checkpoints and pictures, then `predict`."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from recipes import large_shapes
from test_recipes import CONFIGS, IMAGE_RECIPES, PIXEL_RECIPES, RECIPES

import detkit
from detkit.data import draw_shapes
from detkit.structures import Target
from detkit.testing.imitation import imitated_device

SMALLER = {name: smaller for name, _, smaller in RECIPES}
VARIED = {
    "mask_rcnn_shapes": {"model.init_args.mask_head.init_args.run_lengths": "true"},
    "mesh_rcnn_shapes3d": {
        "data.root": "null",
        "data.dataset.init_args.counts": "{train: 2, val: 2}",
        "data.dataset.init_args.image_size": "[48, 56]",
    },
    "classification_shapes": {"data.image_class": "largest", "trainer.callbacks": "null"},
    "localization_shapes": {"data.image_class": "largest", "trainer.callbacks": "null"},
}
CAMERA = torch.tensor([[60.0, 0, 28], [0, 60, 24], [0, 0, 1]])
ALWAYS = ("mask_rcnn_shapes", "ssd_shapes", "classification_shapes")
OF_MAPS = ("panoptic_fpn_shapes", *(name for name, *_ in PIXEL_RECIPES))
NAMES = [*SMALLER, "mesh_rcnn_shapes3d", *(name for name, *_ in IMAGE_RECIPES), *OF_MAPS]
PARAMETERS = [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in NAMES]


class ImitatedAccelerator(CPUAccelerator):
    """Lightning's for the CPU, which otherwise refuses the name of another device."""

    def setup_device(self, device):
        pass


def _drawn(folder, **others):
    return draw_shapes(folder / "shapes", large_shapes({"train": 2, "val": 2}, (48, 56), **others))


@pytest.fixture(scope="module")
def few_images(tmp_path_factory):
    return _drawn(tmp_path_factory.mktemp("few"), crowd_probability=0.3)


@pytest.fixture(scope="module")
def few_maps(tmp_path_factory):
    return _drawn(tmp_path_factory.mktemp("maps"), stuff=("grass", "water"))


@pytest.fixture
def on_device(monkeypatch, detkit_command):
    """Runs a command whose trainer uses the imitated device."""

    def there(**arguments):
        arguments.pop("accelerator")
        strategy = SingleDeviceStrategy(torch.device("cuda:0"), accelerator=ImitatedAccelerator())
        return Trainer(**arguments | {"strategy": strategy})

    monkeypatch.setattr("detkit.engine.commands.train.Trainer", there)
    return detkit_command


def _options(name, root):
    smaller = {key: value for key, value in SMALLER.get(name, {}).items() if key.startswith("model")}
    once = {
        "data.root": root,
        "data.num_workers": 0,
        "data.batch_size": 2,
        "pictures": 1,
        "trainer.max_epochs": 1,
        "trainer.check_val_every_n_epoch": 1,
        "trainer.num_sanity_val_steps": 0,
    }
    return [f"--{key}={value}" for key, value in (once | smaller | VARIED.get(name, {})).items()]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_recipe_trains_and_predicts(name, request, tmp_path, monkeypatch, on_device):
    monkeypatch.chdir(tmp_path)
    root = request.getfixturevalue("few_maps" if name in OF_MAPS else "few_images")
    recipe = ["train", "--config", CONFIGS / f"{name}.yaml", "--name", name]
    with imitated_device():
        status, said = on_device(*recipe, *_options(name, root))
        assert status == 0, said
        model = detkit.load(tmp_path / "runs" / name, device="cuda")
        assert {one.device.type for one in model.state_dict().values()} == {"cuda"}
        images = [torch.rand(3, 48, 56), torch.rand(3, 50, 40)]
        given = Target(proposals=torch.tensor([[2.0, 2, 30, 30], [9, 5, 40, 38]]), camera=CAMERA)
        answers = model.predict(images, given=[given] * 2 if model.asks_for else None)
    assert all(
        value.device.type == "cpu" for one in answers for value in vars(one).values() if hasattr(value, "device")
    )


def test_a_run_is_resumed(few_images, tmp_path, monkeypatch, on_device):
    monkeypatch.chdir(tmp_path)
    with imitated_device():
        recipe = ["--config", CONFIGS / "classification_shapes.yaml", "--name", "begun"]
        status, said = on_device("train", *recipe, *_options("classification_shapes", few_images))
        assert status == 0, said
        status, said = on_device("train", "--resume", "runs/begun", "--trainer.max_epochs", "2")
    assert status == 0, said
    assert torch.load(tmp_path / "runs/begun/last.ckpt", weights_only=True)["global_step"] == 2
