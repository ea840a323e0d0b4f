"""A data set class of one's own, by its import path; regions that the loader finds; and recipes of before."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tiny_detector import TinyDetector

import detkit
from detkit.data import DataModule, ImageDataset, WithProposals
from detkit.engine.checkpoint import read_checkpoint
from detkit.engine.config.old_configs import modernize, modernize_arguments
from detkit.errors import InputError
from detkit.images import read_image
from detkit.proposals import Proposals

DATASET = '''
from pathlib import Path

import numpy as np
import torch

from detkit.data import ImageDataset
from detkit.structures import Category, Target


class Squares(ImageDataset):
    """White squares on gray."""

    def __init__(self, split: str, count: int = 6, side: int = 12) -> None:
        self.side, self.numbers = side, range(count if split == "train" else 3)

    @property
    def categories(self):
        return [Category(5, "square"), Category(7, "circle")]

    @property
    def image_ids(self):
        return [f"square {number}" for number in self.numbers]

    @property
    def image_sizes(self):
        return np.full((len(self.numbers), 2), (40, 50))

    def read(self, index):
        image = np.full((40, 50, 3), 90, np.uint8)
        image[5 : 5 + self.side, 8 + index : 8 + index + self.side] = 255
        box = torch.tensor([[8.0 + index, 5, 8 + index + self.side, 5 + self.side]])
        return image, Target(box, torch.tensor([0]), image_id=self.image_ids[index])
'''


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    package = tmp_path / "packages" / "squares_of_mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(DATASET)
    monkeypatch.syspath_prepend(str(package.parent))
    yield "squares_of_mine.Squares"
    sys.modules.pop("squares_of_mine", None)


class TestOwnDataset:
    def test_trains_and_is_evaluated(self, recipe, detkit_command, own_package: str):
        path = recipe(data={"root": None, "dataset": {"class_path": own_package, "init_args": {"side": 10}}})
        status, said = detkit_command("train", "--config", path, "--trainer.max_epochs", "1")
        assert status == 0, said
        assert detkit.load("runs/tiny", trust=["tiny_detector"]).categories[1].name == "circle"
        command = ["eval", "--checkpoint", "runs/tiny", "--trust", "tiny_detector", "--out", "metrics.json"]
        status, said = detkit_command(*command, "--trust", "squares_of_mine")
        assert status == 0, said
        assert "AP" in json.loads(Path("metrics.json").read_text())["bbox"]
        status, said = detkit_command(*command)
        assert status == 2
        assert "--trust squares_of_mine" in said

    def test_what_it_does_not_take_is_named(self, recipe, detkit_command, own_package: str):
        path = recipe(data={"root": None, "dataset": {"class_path": own_package, "init_args": {"sides": 10}}})
        status, said = detkit_command("train", "--config", path)
        assert status == 2
        assert "sides" in said

    def test_its_ground_truth_is_made_of_its_targets(self, own_package: str):
        import squares_of_mine

        dataset = squares_of_mine.Squares("val")
        assert isinstance(dataset, ImageDataset)
        truth = dataset.ground_truth()
        assert [image["id"] for image in truth["images"]] == ["square 0", "square 1", "square 2"]
        assert truth["annotations"][1]["bbox"] == [9, 5, 12, 12]
        assert truth["annotations"][1]["category_id"] == 5
        assert dataset[0][0].shape == (3, 40, 50)
        assert dataset.keypoint_pairs == []

    def test_a_class_for_each_image_must_be_its_own(self, own_package: str):
        import squares_of_mine

        data = DataModule(dataset=squares_of_mine.Squares, image_class="largest")
        with pytest.raises(InputError, match=r"data\.image_class"):
            _ = data.train_dataset


class Halves(Proposals):
    """The left and the right half."""

    identity = "halves"

    def __call__(self, image):
        height, width = image.shape[1:]
        return torch.tensor([[0.0, 0, width / 2, height], [width / 2, 0, width, height]])


class AsksForProposals(TinyDetector):
    """Answers with the first region that it is given."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.asks_for = frozenset({"proposals"})

    def forward(self, images, targets=None, given=None, generator=None):
        regions = [one.proposals for one in (given or targets)]
        assert all(torch.equal(boxes, Halves()(image)) for boxes, image in zip(regions, images, strict=True))
        answers = super().forward(images, targets)
        if targets is not None:
            return answers
        return [replace(answer, boxes=boxes[:1]) for answer, boxes in zip(answers, regions, strict=True)]


class TestProposals:
    def test_are_found_in_varied_images(self, shapes_root: Path):
        for workers in (0, 1):
            data = DataModule(shapes_root, num_workers=workers, proposals=Halves())
            data.read_for(set(), {"proposals"})
            for loader in (data.train_dataloader(), data.val_dataloader()):
                for images, targets in loader:
                    for image, target in zip(images, targets, strict=True):
                        assert torch.equal(target.proposals, Halves()(image))
        assert isinstance(data.train_dataloader().dataset.dataset, WithProposals)

    def test_a_model_that_asks_needs_them(self, shapes_root: Path):
        data = DataModule(shapes_root)
        data.read_for(set(), {"proposals"})
        with pytest.raises(InputError, match=r"give data\.proposals, such as"):
            _ = data.train_dataset

    def test_in_training_and_evaluation(self, recipe, detkit_command):
        model = {"class_path": "test_own_dataset.AsksForProposals"}
        path = recipe(model=model, data={"proposals": {"class_path": "test_own_dataset.Halves"}})
        status, said = detkit_command("train", "--config", path, "--trainer.max_epochs", "1")
        assert status == 0, said
        status, said = detkit_command("eval", "--checkpoint", "runs/tiny", "--trust", "test_own_dataset")
        assert status == 0, said
        status, said = detkit_command("train", "--config", recipe(model=model), "--overwrite")
        assert status == 2
        assert "give data.proposals" in said


class TestGivenInPrediction:
    """A model that asks for something is given it from a file, by the names of the images."""

    @pytest.fixture
    def command(self, recipe, detkit_command, shapes_root: Path):
        model = {"class_path": "test_own_dataset.AsksForProposals"}
        path = recipe(model=model, data={"proposals": {"class_path": "test_own_dataset.Halves"}})
        status, said = detkit_command("train", "--config", path, "--trainer.max_epochs", "1")
        assert status == 0, said
        images = shapes_root / "images" / "val"
        return ["predict", "--checkpoint", "runs/tiny", "--trust", "test_own_dataset", "--out", "out", images]

    def given(self, folder: Path, leave_out: int = 0) -> str:
        entries = []
        for path in sorted(folder.iterdir())[leave_out:]:
            height, width = read_image(path).shape[:2]
            halves = [[0, 0, width / 2, height], [width / 2, 0, width / 2, height]]
            entries.append({"file_name": path.name, "proposals": halves})
        Path("given.json").write_text(json.dumps({"images": entries}))
        return "given.json"

    def test_reaches_the_model(self, command, detkit_command):
        status, said = detkit_command(*command, "--given", self.given(command[-1]))
        assert status == 0, said
        result = json.loads(Path("out/detections.json").read_text())
        assert all(one["bbox"][:2] == [0, 0] for one in result)

    def test_what_is_missing_is_named(self, command, detkit_command):
        status, said = detkit_command(*command)
        assert status == 2
        assert "asks for proposals" in said
        assert "--given" in said
        status, said = detkit_command(*command, "--given", self.given(command[-1], leave_out=1))
        assert status == 2
        assert min(command[-1].iterdir()).name in said
        Path("given.json").write_text("{}")
        status, said = detkit_command(*command, "--given", "given.json")
        assert status == 2
        assert "given.json" in said


class TestOldKeys:
    def test_a_config_file_of_before(self, recipe, detkit_command, caplog):
        path = recipe(data={"with_masks": True, "with_keypoints": False})
        status, said = detkit_command("train", "--config", path, "--trainer.max_epochs", "1")
        assert status == 0, said
        assert "data.with_masks is not needed" in caplog.text
        written = yaml.safe_load(Path("runs/tiny/config.yaml").read_text())
        assert written["data"]["reads"] == ["masks"]
        assert not {"with_masks", "with_keypoints"} & written["data"].keys()

    def test_the_command_line_of_before(self, recipe, detkit_command, caplog):
        path = recipe()
        status, said = detkit_command(
            "train", "--config", path, "--trainer.max_epochs", "1", "--data.with_masks", "true",
            "--data.with_keypoints=false",
        )  # fmt: skip
        assert status == 0, said
        assert "--data.with_masks" in caplog.text
        assert yaml.safe_load(Path("runs/tiny/config.yaml").read_text())["data"]["reads"] == ["masks"]

    def test_the_recipe_in_a_checkpoint_of_before(self, run_folder: Path, detkit_command):
        content = read_checkpoint(run_folder / "best.ckpt")
        content["detkit"]["config"]["data"].pop("reads")
        content["detkit"]["config"]["data"] |= {"with_masks": True, "with_keypoints": False}
        content["detkit"]["categories"] = [
            {"id": one["id"], "name": one["name"]} for one in content["detkit"]["categories"]
        ]
        torch.save(content, "old.ckpt")
        status, said = detkit_command("eval", "--checkpoint", "old.ckpt", "--trust", "tiny_detector")
        assert status == 0, said

    def test_what_is_new_stays_as_it_is(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert modernize_arguments(["--data.reads", "[masks]"]) == ["--data.reads", "[masks]"]
            assert modernize({"data": {"reads": ["masks"]}}) == {"data": {"reads": ["masks"]}}


class TestWhatIsRead:
    def test_an_unknown_field_lists_the_fields(self, recipe, detkit_command):
        status, said = detkit_command("train", "--config", recipe(data={"reads": ["mask"]}))
        assert status == 2
        assert "no field 'mask'" in said
        assert "keypoints" in said

    def test_categories_are_known_before_the_file_is_read(self, shapes_root: Path):
        data = DataModule(shapes_root)
        assert data.num_classes == 7
        assert not data._datasets
        assert data.categories == data.train_dataset.categories
