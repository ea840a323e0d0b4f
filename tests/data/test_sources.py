import numpy as np
import pytest
import torch
from image_files import noise, write_image

from detkit.data import Augmentation, DataModule, DataSource, ShapesOptions, UnlabeledImages, draw_shapes
from detkit.errors import InputError

STEPS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    options = ShapesOptions(counts={"train": 2 * STEPS, "val": 7, "test": 4}, image_size=(24, 32))
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


@pytest.fixture
def photos(tmp_path):
    for number in range(7):
        write_image(tmp_path / "photos" / ("a" * (number % 2)) / f"{number}.png", noise(20 + number, 30, number))
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def make(root, photos):
    def data(workers: int = 0, **options) -> DataModule:
        sources = [
            DataSource("photos", photos, labels=False, batch_size=3),
            DataSource("labeled", root, split="val", augmentation=None),
        ]
        return DataModule(root, num_workers=workers, batch_size=2, sources=sources, **options)

    return data


def epoch_of(data: DataModule, epoch: int) -> list:
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def pixels(batch) -> list[torch.Tensor]:
    images, _, sources = batch
    return [*images, *sources["photos"][0], *sources["labeled"][0]]


def assert_same(ones: list, others: list) -> None:
    for one, other in zip(ones, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(pixels(one), pixels(other), strict=True))


def ids(batches: list, name: str) -> list:
    return [target.image_id for *_, sources in batches for target in sources[name][1]]


class TestBatches:
    def test_hold_one_of_every_source(self, make):
        batches = epoch_of(make(), 0)
        assert len(batches) == STEPS
        for images, targets, sources in batches:
            assert (len(images), len(targets)) == (2, 2)
            assert [len(part[0]) for part in sources.values()] == [3, 2]
            assert sources["photos"][1] is None
            assert len(set(sources["photos"][2])) == len(sources["photos"][0])
            assert all(target.boxes.shape[1] == 4 for target in sources["labeled"][1])

    def test_main_images_are_those_without_sources(self, make, root):
        plain = DataModule(root, num_workers=0, batch_size=2)
        loader = plain.train_dataloader()
        loader.batch_sampler.set_epoch(1)
        for (images, _, _), (others, _) in zip(epoch_of(make(), 1), loader, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(images, others, strict=True))

    def test_a_source_goes_round_in_epochs_of_its_own(self, make):
        data = make()
        seen = ids(epoch_of(data, 0) + epoch_of(data, 1), "labeled")  # 7 images, 3 batches of 2 in each of its epochs
        rounds = [seen[start : start + 6] for start in (0, 6, 12)]
        assert all(len(set(once)) == 6 for once in rounds)
        assert rounds[0] != rounds[1]

    def test_depend_on_seed_and_step_alone(self, make):
        assert_same(epoch_of(make(), 1), epoch_of(make(workers=2), 1))
        other = epoch_of(make(seed=1), 1)
        assert ids(other, "labeled") != ids(epoch_of(make(), 1), "labeled")

    @pytest.mark.parametrize("skipped", [1, 4])
    def test_go_on_within_an_epoch(self, make, skipped):
        data = make()
        data.skip_batches = skipped
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(2)
        assert_same(list(loader), epoch_of(make(), 2)[skipped:])
        loader.batch_sampler.set_epoch(3)
        assert_same(list(loader), epoch_of(make(), 3))

    def test_do_not_depend_on_the_order_of_sources(self, make):
        data = make()
        data.sources.reverse()
        assert_same(epoch_of(data, 0), epoch_of(make(), 0))


class TestUnlabeledImages:
    def test_are_all_images_below_a_folder(self, photos):
        images = UnlabeledImages(photos)
        assert len(images) == 7
        image, target = images.read(1)
        assert (image.dtype, image.shape[2]) == (np.uint8, 3)
        assert (target.boxes, target.labels) == (None, None)  # not annotated, rather than empty
        assert (photos / target.image_id).is_file()

    def test_of_a_folder_without_any(self, tmp_path):
        with pytest.raises(InputError, match="no images in this folder"):
            UnlabeledImages(tmp_path)


class TestWrong:
    def test_names(self, root):
        with pytest.raises(InputError, match="2 sources named a"):
            DataModule(root, sources=[DataSource("a", root), DataSource("a", root)])

    def test_batch_size(self, root):
        with pytest.raises(InputError, match="batch_size of a must be at least 1"):
            DataSource("a", root, batch_size=0)

    def test_classes(self, root, coco_folder):
        _, annotations = coco_folder()
        data = DataModule(root, sources=[DataSource("a", annotations.parents[1])])
        with pytest.raises(InputError, match="data source a has the classes"):
            data.setup("fit")

    def test_an_image_that_cannot_be_read(self, root, photos):
        (photos / "0.png").write_bytes(b"broken")
        data = DataModule(root, num_workers=0, sources=[DataSource("a", photos, labels=False, batch_size=7)])
        with pytest.raises(InputError, match=r"0\.png"):
            epoch_of(data, 0)


def test_the_variation_is_the_source_s_own(root, photos):
    dark = Augmentation(horizontal_flip=0.0, brightness=0.5)
    sources = [DataSource("a", photos, False, augmentation=dark), DataSource("b", photos, False, augmentation=None)]
    (_, _, result), *_ = epoch_of(DataModule(root, num_workers=0, sources=sources), 0)
    as_they_are = {tuple(torch.from_numpy(UnlabeledImages(photos).read(k)[0]).flatten().tolist()) for k in range(7)}
    assert all(tuple(image.permute(1, 2, 0).flatten().tolist()) in as_they_are for image in result["b"][0])
    assert not any(tuple(image.permute(1, 2, 0).flatten().tolist()) in as_they_are for image in result["a"][0])
