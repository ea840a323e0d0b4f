"""Nothing of a package is imported because a checkpoint names it, unless the caller trusts the package by name."""

import contextlib
import copy
import importlib
import sys

import pytest
import torch
from recorded_ssd import SSD
from tiny_detector import TinyDetector

import detkit
from detkit.engine.checkpoint import Checkpoint, build_model, read_checkpoint, save_model, write_checkpoint
from detkit.engine.cli import evaluate, fit_svms, predict, run, train, visualize
from detkit.engine.config.command_line import recorded_data
from detkit.engine.config.trust import check_trusted, packages_of
from detkit.engine.evaluators import recorded_evaluators
from detkit.errors import InputError
from detkit.structures import Category
from detkit.visualization import write_image

NAMES = [
    "evil.Thing",
    "evil.func",
    "evil_package.inner.Thing",
    "evil-mod.Thing",
    "detkit_evil.Thing",
    "detkitx.m.Thing",
]


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that a foreign module writes when it is imported; the modules lie on ``sys.path`` and in the folder."""
    marker = tmp_path / "was imported"
    code = f"open({str(marker)!r}, 'w').close()\nclass Thing: pass\ndef func(*a, **k): pass\n"
    for name in ("evil.py", "evil-mod.py", "detkit_evil.py", "evil_package/inner.py", "detkitx/m.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    (tmp_path / "one.yaml").write_text("class_path: evil.Thing\n")
    (tmp_path / "name.txt").write_text("evil.Thing")
    (tmp_path / "list.yaml").write_text("- evil.Thing\n- class_path: evil.Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield marker
    for name in [name for name in sys.modules if name.startswith(("evil", "detkit_evil", "detkitx"))]:
        del sys.modules[name]


def values(tmp_path):
    """What can stand in a config and leads a parser to foreign code."""
    entry = {"class_path": "evil.Thing", "init_args": {}}
    return [
        *NAMES,
        *({"class_path": name} for name in NAMES),
        " evil.Thing",
        entry,
        [entry],
        {"key": entry},
        {"evil.Thing": 1},
        {"class_path": "functools.partial", "init_args": {"func": "evil.func"}},
        {"class_path": "SSD", "init_args": entry},
        {"class_path": "SSD", "dict_kwargs": {"a": entry}},
        {"init_args": entry, "__path__": "one.yaml", "__orig__": "one.yaml"},
        "class_path: evil.Thing",
        "class_path: evil.Thing\ninit_args: {}\n",
        "{class_path: evil.Thing}",
        '{"class_path": "evil.Thing", "init_args": {}}',
        '{"init_args": {"a": {"class_path": "evil.Thing"}}}',
        "[evil.Thing]",
        '["evil.Thing", {"class_path": "evil.Thing"}]',
        "- evil.Thing",
        "one.yaml",
        "name.txt",
        "list.yaml",
        str(tmp_path / "one.yaml"),
        "@one.yaml",
        "${oc.env:EVIL}",
        "!!python/object/apply:evil.func []",
    ]


def parts(config, path=()):
    """The keys on the way to each value of a config."""
    yield path
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        yield from parts(value, (*path, key))


def changed(config, path, value):
    config = copy.deepcopy(config)
    if not path:
        return value
    part = config
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return config


@pytest.fixture
def saved(tmp_path, monkeypatch):
    model = build_model(SSD, [], "config")
    model.categories = [Category(1, "one")]
    path = tmp_path / "model.ckpt"
    save_model(model, SSD, path)
    return path


@pytest.mark.slow
def test_no_value_at_any_depth_of_a_model_imports_a_module(marker, tmp_path):
    extra = ["head", "postprocess", "box_coder", "weights", "transform", "anchors"]
    for path in [*parts(SSD), *(("init_args", name) for name in extra)]:
        for value in values(tmp_path):
            with contextlib.suppress(InputError):
                build_model(changed(SSD, path, value), [], "a.ckpt")
            assert not marker.exists(), (path, value)


def test_no_value_of_a_model_imports_a_module(marker, tmp_path):
    arguments = [("init_args", name) for name in ("neck", "backbone", "loss_weights")]
    for path in [(), ("class_path",), ("init_args",), *arguments]:
        for value in values(tmp_path):
            with contextlib.suppress(InputError):
                build_model(changed(SSD, path, value), [], "a.ckpt")
            assert not marker.exists(), (path, value)


def test_names_of_losses_are_no_code(marker):
    """A package may have the name of a loss."""
    model = build_model(changed(SSD, ("init_args", "loss_weights"), {"evil.edge": 0.5}), [], "a.ckpt")
    assert model.loss_weights == {"evil.edge": 0.5}
    assert not marker.exists()


def test_no_value_of_the_data_of_a_checkpoint_imports_a_module(marker, tmp_path):
    for key in ("dataset", "proposals", "shapes"):
        for value in values(tmp_path):
            for data in ({"root": "gone", key: value}, value):
                with contextlib.suppress(InputError):
                    recorded_data(Checkpoint(tmp_path / "a.ckpt", {"detkit": {"config": {"data": data}}}), [])
                assert not marker.exists(), (key, data)


def test_no_value_of_the_evaluators_of_a_checkpoint_imports_a_module(marker, tmp_path):
    for key in ("evaluators", "evaluate"):
        for value in values(tmp_path):
            for given in (value, [value], [{"class_path": "CocoEvaluator", "init_args": {"iou_type": value}}]):
                with contextlib.suppress(InputError):
                    recorded_evaluators(Checkpoint(tmp_path / "a.ckpt", {"detkit": {"config": {key: given}}}), [])
                assert not marker.exists(), given


def test_no_command_imports_what_a_checkpoint_names(marker, saved, tmp_path):
    content = read_checkpoint(saved)
    image = str(tmp_path / "image.png")
    write_image(image, torch.zeros(32, 32, 3, dtype=torch.uint8).numpy())
    evil = "class_path: evil.Thing"
    recipe = {"data": {"root": "gone", "dataset": evil}, "evaluators": evil, "trainer": evil, "learner": evil}
    record = {**content["detkit"], "model": changed(SSD, ("init_args", "neck"), evil), "config": recipe}
    write_checkpoint({**content, "detkit": record}, saved)
    model = ["--model", "SSD", "--model.backbone.class_path", "TorchvisionBackbone"]
    for command, argv in {
        evaluate: ["--checkpoint", str(saved)],
        fit_svms: ["--checkpoint", str(saved), "--data.dataset", "gone"],
        predict: [image, "--checkpoint", str(saved), "--out", str(tmp_path / "out")],
        visualize: [image, "--checkpoint", str(saved), "--out", str(tmp_path / "views.png")],
        train: ["--start_from", str(saved), "--data.root", "gone", "--name", "a", *model],
    }.items():
        assert run(command, argv) == 2
        assert not marker.exists(), command


@pytest.mark.parametrize("name", ["detkit.load", "detkit.engine.checkpoint.load"])
def test_a_function_of_detkit_cannot_trust_in_place_of_the_caller(marker, saved, tmp_path, name):
    content = read_checkpoint(saved)
    write_checkpoint({**content, "detkit": {**content["detkit"], "model": {"class_path": "evil.Thing"}}}, "evil.ckpt")
    arguments = {"checkpoint": str(tmp_path / "evil.ckpt"), "trust": ["evil"]}
    with pytest.raises(InputError, match=f"a.ckpt asks for {name}, which is no class"):
        build_model({"class_path": name, "init_args": arguments}, [], "a.ckpt")
    assert not marker.exists()


def test_the_environment_names_no_classes(marker, saved, monkeypatch):
    for name in ("MODEL", "APP_MODEL", "PYTEST_MODEL", "JSONARGPARSE_MODEL"):
        monkeypatch.setenv(name, '{"class_path": "evil.Thing"}')
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    assert type(detkit.load(saved)).__name__ == "SSD"
    assert not marker.exists()


def test_what_is_trusted_by_name_is_built(tmp_path):
    model = TinyDetector(2)
    model.categories = [Category(1, "one"), Category(2, "two")]
    config = {"class_path": "tiny_detector.TinyDetector", "init_args": {"num_classes": 2}}
    save_model(model, config, tmp_path / "tiny.ckpt")
    assert type(detkit.load(tmp_path / "tiny.ckpt", trust=["tiny_detector"])) is TinyDetector


def test_folders_of_data_are_no_packages(tmp_path, monkeypatch):
    """A word with a dot such as `mesh.chamfer`, where the working folder has a folder `mesh`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "meshes_of_mine").mkdir()
    config = {"factors": {"meshes_of_mine.chamfer": 1.0}}
    check_trusted(config, [], "a.ckpt")
    assert packages_of(config) == []
    (tmp_path / "meshes_of_mine" / "chamfer.py").write_text("")
    importlib.invalidate_caches()
    with pytest.raises(InputError, match=r"asks for meshes_of_mine\.chamfer, which is not part of detkit"):
        check_trusted(config, [], "a.ckpt")
    assert packages_of(config) == ["meshes_of_mine"]
