import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
import torch.distributed
import yaml
from fake_clock import FakeClock
from forked import run_in_processes
from image_files import noise, write_image
from jsonargparse import ArgumentParser

import detkit.data.datamodule as datamodule
from detkit.data import Augmentation, DataModule, Loader, ShapesOptions, TrainingDataset, draw_shapes, measure_loader
from detkit.errors import InputError
from detkit.structures import Target

OPTIONS = ShapesOptions(counts={"train": 23, "val": 7, "test": 4}, image_size=(48, 64), min_object_size=8.0)
ALL = Augmentation(crop=0.5, zoom=(0.7, 1.5), brightness=0.2, hue=0.05)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", OPTIONS)


def epoch_of(data: DataModule, epoch: int) -> list:
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def same(first: list, second: list) -> bool:
    return all(
        torch.equal(a, b) and torch.equal(s.boxes, t.boxes) and s.image_id == t.image_id
        for (images, targets), (others, more) in zip(first, second, strict=True)
        for a, b, s, t in zip(images, others, targets, more, strict=True)
    )


def test_batches(root: Path):
    data = DataModule(root, batch_size=4, eval_batch_size=3, num_workers=0, reads=["masks", "keypoints"])
    data.setup("fit")
    assert data.num_classes == 7
    assert data.categories[0].name == "disc"
    result = epoch_of(data, 0)
    assert [len(images) for images, _ in result] == [4] * 5
    for images, targets in result:
        for image, target in zip(images, targets, strict=True):
            assert image.dtype == torch.uint8
            assert image.shape[1:] == target.masks.shape[1:]
            assert target.keypoints.shape[1:] == (5, 3)
    assert [len(images) for images, _ in data.val_dataloader()] == [3, 3, 1]
    assert [target.image_id for _, targets in data.val_dataloader() for target in targets] == list(range(1, 8))


def test_evaluation_images_are_as_they_are(root: Path):
    data = DataModule(root, num_workers=0, augmentation=ALL)
    for index, (images, targets) in enumerate(data.val_dataloader()):
        for k, (image, target) in enumerate(zip(images, targets, strict=True)):
            expected, truth = data.eval_dataset[2 * index + k]
            assert torch.equal(image, expected)
            assert torch.equal(target.boxes, truth.boxes)


def test_eval_split(root: Path):
    data = DataModule(root, num_workers=0, eval_split="test")
    data.setup("validate")
    assert len(data.eval_dataset) == 4
    assert sum(len(images) for images, _ in data.val_dataloader()) == 4


@pytest.mark.parametrize("num_workers", [1, 3])
def test_samples_do_not_depend_on_the_workers(root: Path, num_workers: int):
    alone = DataModule(root, batch_size=4, num_workers=0, augmentation=ALL, seed=5)
    many = DataModule(root, batch_size=4, num_workers=num_workers, augmentation=ALL, seed=5)
    loader = many.train_dataloader()
    for epoch in (0, 1, 4):
        loader.batch_sampler.set_epoch(epoch)  # the workers live on
        assert same(list(loader), epoch_of(alone, epoch))


def test_a_worker_sends_images_of_one_size_in_one_memory(root: Path):
    data = DataModule(root, batch_size=4, num_workers=1, augmentation=None)
    for images, _ in data.train_dataloader():
        sizes = {image.shape for image in images}
        assert len({image.untyped_storage().data_ptr() for image in images}) == len(sizes)
        assert all(image.is_contiguous() for image in images)


def test_epochs_and_seeds_differ(root: Path):
    def image(epoch: int, seed: int) -> torch.Tensor:
        data = DataModule(root, augmentation=ALL, seed=seed)
        return TrainingDataset(data.train_dataset, ALL, seed)[3, epoch][0]

    assert torch.equal(image(1, 2), image(1, 2))
    assert not torch.equal(image(1, 2), image(2, 2))
    assert not torch.equal(image(1, 2), image(1, 3))


def test_global_random_state_is_not_touched(root: Path):
    data = DataModule(root, num_workers=1, augmentation=ALL)
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    state = np.random.get_state()[1].tolist()
    epoch_of(data, 0)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), expected)
    assert np.random.get_state()[1].tolist() == state


def test_without_augmentation(root: Path):
    data = DataModule(root, augmentation=None, num_workers=0)
    dataset = TrainingDataset(data.train_dataset, None)
    assert torch.equal(dataset[4, 9][0], data.train_dataset[4][0])


def test_dataset_can_be_sent_to_a_spawned_worker(root: Path):
    dataset = TrainingDataset(DataModule(root).train_dataset, ALL, 3)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[2, 1][0], dataset[2, 1][0])


def test_shapes_are_drawn_when_no_folder_is_given(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(datamodule, "SHAPES_FOLDER", tmp_path)
    data = DataModule(shapes=OPTIONS, num_workers=0)
    assert os.listdir(tmp_path) == []  # nothing happens before it is needed
    data.prepare_data()
    (folder,) = tmp_path.iterdir()
    data.setup("fit")
    assert len(data.train_dataset) == 23
    assert data.train_dataset.annotations_path.is_relative_to(folder)
    DataModule(shapes=ShapesOptions(counts={"train": 1, "val": 1})).setup("fit")
    assert len(list(tmp_path.iterdir())) == 2


def test_given_paths_come_before_the_folder(root: Path, tmp_path: Path):
    write_image(tmp_path / "x.png", noise(9, 9))
    categories = json.loads((root / "annotations" / "instances_val.json").read_text())["categories"]
    content = {"images": [{"id": 1, "file_name": "x.png"}], "annotations": [], "categories": categories}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    data = DataModule(root, val_images=tmp_path, val_annotations=tmp_path / "mine.json")
    data.setup("fit")
    assert len(data.train_dataset) == 23
    assert len(data.eval_dataset) == 1


def test_missing_split(tmp_path: Path):
    root = draw_shapes(tmp_path / "a", ShapesOptions(counts={"train": 2}, image_size=(48, 64)))
    with pytest.raises(InputError, match=r"no annotation file for the split 'val'.*instances_train.json"):
        DataModule(root).setup("fit")
    images, annotations = root / "images" / "train", root / "annotations" / "instances_train.json"
    data = DataModule(train_images=images, train_annotations=annotations, num_workers=0)
    assert data.num_classes == 7
    with pytest.raises(InputError, match=r"give data\.val_images and data\.val_annotations, or data\.root"):
        data.setup("fit")
    with pytest.raises(InputError, match=r"give data\.train_annotations, or data\.root"):
        DataModule(train_images=images).setup("fit")


def test_splits_with_other_classes(root: Path, tmp_path: Path):
    content = json.loads((root / "annotations" / "instances_val.json").read_text())
    content["categories"][0]["name"] = "disk"
    (tmp_path / "val.json").write_text(json.dumps(content))
    data = DataModule(root, val_images=root / "images" / "val", val_annotations=tmp_path / "val.json")
    with pytest.raises(InputError, match=r"val.json has the classes \['disk', .*instances_train.json has \['disc'"):
        data.setup("fit")


@pytest.mark.parametrize("option", ["batch_size", "eval_batch_size", "num_workers"])
def test_values_out_of_range(option: str):
    with pytest.raises(InputError, match=option):
        DataModule(**{option: -1})
    if option == "eval_batch_size":
        with pytest.raises(InputError, match=option):
            DataModule(eval_batch_size=0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_image_is_one_sentence_from_any_process(root: Path, tmp_path: Path, num_workers: int):
    images, annotations = broken_copy(root, tmp_path)
    data = DataModule(
        train_images=images, train_annotations=annotations, val_images=images, val_annotations=annotations,
        num_workers=num_workers,
    )  # fmt: skip
    for loader in (data.train_dataloader(), data.val_dataloader()):
        with pytest.raises(InputError, match=r"cut short.*image id 3") as caught:
            list(loader)
        assert "\n" not in str(caught.value)


def test_bad_image_skipped(root: Path, tmp_path: Path, caplog):
    images, annotations = broken_copy(root, tmp_path)
    data = DataModule(
        train_images=images, train_annotations=annotations, val_images=images, val_annotations=annotations,
        num_workers=0, on_bad_image="skip",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        seen = {target.image_id for _, targets in data.val_dataloader() for target in targets}
    assert seen == set(range(1, 8)) - {3}
    assert {image["id"] for image in data.eval_dataset.ground_truth()["images"]} == seen
    assert 3 not in {target.image_id for epoch in range(4) for _, ts in epoch_of(data, epoch) for target in ts}


def broken_copy(root: Path, folder: Path) -> tuple[Path, Path]:
    for path in (root / "images" / "val").iterdir():
        whole = path.read_bytes()
        (folder / path.name).write_bytes(whole[:-90] if path.name.startswith("000002") else whole)
    return folder, root / "annotations" / "instances_val.json"


# ---- Lightning ----


class Recorder(lightning.LightningModule):
    """Learns nothing, remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int], float]] = []
        self.evaluated: list[int] = []

    def training_step(self, batch, number):
        images, targets = batch
        pixels = float(sum(image.double().mean() for image in images))
        self.seen.append((self.current_epoch, [target.image_id for target in targets], pixels))
        return self.weight * 0

    def validation_step(self, batch, number):
        self.evaluated += [target.image_id for target in batch[1]]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, epochs: int) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, use_distributed_sampler=False, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0, enable_checkpointing=False,
    )  # fmt: skip


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_run_sees_what_the_unbroken_one_sees(root: Path, tmp_path: Path, num_workers: int):
    def fit(epochs: int, checkpoint: Path | None = None) -> Recorder:
        module = Recorder()
        data = DataModule(root, batch_size=4, num_workers=num_workers, augmentation=ALL)
        running = trainer(tmp_path, epochs)
        running.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        running.save_checkpoint(tmp_path / "last.ckpt")
        return module

    unbroken = fit(4)
    assert len({epoch for epoch, _, _ in unbroken.seen}) == 4
    assert sorted(unbroken.evaluated) == sorted(list(range(1, 8)) * 4)
    first = fit(2)
    second = fit(4, tmp_path / "last.ckpt")
    assert first.seen + second.seen == unbroken.seen


# ---- several processes ----


def see(rank: int, root: Path, folder: Path) -> None:
    """Writes the images of each training batch of epoch 1, and those evaluated, on one of two processes."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(minutes=10)
    )
    data = DataModule(root, batch_size=2, eval_batch_size=2, num_workers=0, augmentation=ALL)
    train = [[target.image_id for target in targets] for _, targets in epoch_of(data, 1)]
    evaluated = [target.image_id for _, targets in data.val_dataloader() for target in targets]
    (folder / f"{rank}.json").write_text(json.dumps([train, evaluated]))
    torch.distributed.destroy_process_group()


def test_two_processes_see_what_one_sees(root: Path, tmp_path: Path):
    run_in_processes(see, root, tmp_path)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    (train, evaluated), (other_train, other_evaluated) = seen
    data = DataModule(root, batch_size=4, num_workers=0, augmentation=ALL)
    whole = [[target.image_id for target in targets] for _, targets in epoch_of(data, 1)]
    assert [a + b for a, b in zip(train, other_train, strict=True)] == whole
    assert sorted(evaluated + other_evaluated) == list(range(1, 8))


# ---- the config ----


def parsed(tmp_path: Path, config: dict | None = None, *arguments: str) -> DataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(DataModule, "data")
    if config is not None:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": config}))
        arguments = ("--config", str(tmp_path / "config.yaml"), *arguments)
    return parser.instantiate(parser.parse_args(list(arguments))).data


def test_config_and_command_line(tmp_path: Path):
    data = parsed(
        tmp_path,
        {
            "root": "some/folder",
            "augmentation": {
                "class_path": "detkit.data.Augmentation",
                "init_args": {
                    "zoom": [0.5, 2.0],
                    "transforms": [
                        {"class_path": "albumentations.GaussNoise", "init_args": {"p": 0.2}},
                        {
                            "class_path": "albumentations.OneOf",
                            "init_args": {"transforms": [{"class_path": "albumentations.Blur"}]},
                        },
                    ],
                },
            },
        },
        "--data.batch_size=5",
        "--data.augmentation.horizontal_flip=0.1",
        "--data.on_bad_box=skip",
    )
    assert data.root == Path("some/folder")
    assert data.batch_size == 5
    assert data.on_bad_box == "skip"
    assert data.augmentation.zoom == (0.5, 2.0)
    assert data.augmentation.horizontal_flip == 0.1
    varied, _ = data.augmentation(noise(64, 64), Target.empty(), np.random.default_rng(0))
    assert varied.shape == (64, 64, 3)


def test_config_of_the_shapes(tmp_path: Path):
    data = parsed(tmp_path, None, "--data.shapes.counts={train: 3, val: 2}", "--data.shapes.image_size=[32,40]")
    assert data.shapes == ShapesOptions(counts={"train": 3, "val": 2}, image_size=(32, 40))
    assert isinstance(data.augmentation, Augmentation)
    assert parsed(tmp_path, {"augmentation": None}).augmentation is None


def test_unknown_key_is_named(tmp_path: Path):
    with pytest.raises(Exception, match="horizontal_flop"):
        parsed(tmp_path, {"augmentation": {"class_path": "Augmentation", "init_args": {"horizontal_flop": 0.5}}})


# ---- speed ----


class SlowLoader:
    """Three batches of four images; the first of all takes a minute, each later one a tenth of a second."""

    def __init__(self, clock: FakeClock):
        self.clock, self.next_takes = clock, 60.0

    def train_dataloader(self):
        return self

    def __iter__(self):
        for _ in range(3):
            self.clock.advance(self.next_takes)
            self.next_takes = 0.1
            yield ["image"] * 4, ["target"] * 4


def test_measure_loader(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(sys.modules[measure_loader.__module__], "time", clock)
    assert measure_loader(SlowLoader(clock), seconds=0.95) == pytest.approx(40)
    assert clock.now == pytest.approx(60 + 1.0)


def test_measure_loader_runs_a_data_module(root: Path):
    assert measure_loader(DataModule(root, batch_size=4, num_workers=0), seconds=1e-3) > 0


def test_few_file_descriptors(root: Path):
    """Not one for every tensor of every target under way."""
    resource = pytest.importorskip("resource")
    data = DataModule(root, batch_size=20, num_workers=2)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 180, limits[1]))
    try:
        loader = data.train_dataloader()
        kept = [batch for _ in range(6) for batch in loader]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(kept) == 6


def test_opencv_does_not_start_threads_in_workers(root: Path):
    class Threads(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return torch.tensor(cv2.getNumThreads()), Target.empty()

    assert [int(count) for counts, _ in Loader(Threads(), num_workers=1, batch_size=1) for count in counts] == [1, 1]


def test_worker_leaves_signals_to_the_main_process(root: Path):
    if not hasattr(signal, "sigwaitinfo"):
        pytest.skip("this system does not tell who sent a signal")
    loader = DataModule(root, num_workers=1, augmentation=None).train_dataloader()
    batches = iter(loader)
    next(batches)
    (worker,) = loader._iterator._workers
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    subprocess.run(["kill", "-INT", str(worker.pid)], check=True)
    assert len(list(batches)) == len(loader) - 1
    assert worker.is_alive()
    worker.terminate()  # by its parent
    worker.join(300)
    assert not worker.is_alive()


@pytest.mark.slow
def test_program_ends_though_a_loader_holds_workers(root: Path):
    """Workers ignore SIGTERM, with which Python ends its children at exit."""
    code = (
        "import sys; from detkit.data import DataModule\n"
        f"data = DataModule({str(root)!r}, num_workers=1, augmentation=None)\n"
        "loader = data.train_dataloader(); batches = iter(loader); next(batches)\n"
        "sys.stored = loader, batches; print('seen')"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=300, capture_output=True, text=True, check=True)
    assert ended.stdout == "seen\n"
