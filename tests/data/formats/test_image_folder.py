"""Pictures in a folder for each class, as ImageNet's."""

import numpy as np
import pytest
from image_files import noise, write_image

from detkit.data import DataModule, ImageFolderDataset, format_of, open_split
from detkit.errors import InputError
from detkit.structures import Category


@pytest.fixture
def folders(tmp_path):
    """Three classes, one with images a level further down; 2 + 1 + 3 images to train, one of each to validate."""
    names = {
        "train": ["n02/b.png", "n02/a.png", "n01/x.png", "n03/deep/c.png", "n03/deep/d.png", "n03/e.png"],
        "val": ["n01/v.png", "n02/v.png", "n03/v.png"],
    }
    for split, paths in names.items():
        for number, path in enumerate(paths):
            write_image(tmp_path / split / path, noise(20 + number, 30, number))
    (tmp_path / "train" / "n02" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / ".hidden").mkdir()
    return tmp_path


def test_folders_are_classes(folders):
    dataset = ImageFolderDataset(folders, "train")
    assert dataset.image_ids == ["n01/x.png", "n02/a.png", "n02/b.png", "n03/deep/c.png", "n03/deep/d.png", "n03/e.png"]
    assert [dataset.target(index).image_label for index in range(6)] == [0, 1, 1, 2, 2, 2]
    assert dataset.categories == [Category(1, "n01"), Category(2, "n02"), Category(3, "n03")]
    image, target = dataset[2]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), noise(20, 30, 0))
    assert len(target) == 0
    assert target.image_id == "n02/b.png"
    assert dataset.has_image_labels
    assert dataset.with_image_labels("only") is dataset


def test_a_file_says_what_the_folders_mean(folders):
    lines = "n02 crane\nn01 tench, Tinca tinca\nn03 crane\nn04 not here\n"
    (folders / "LOC_synset_mapping.txt").write_text(lines)
    names = [category.name for category in ImageFolderDataset(folders, "val").categories]
    assert names == ["tench, Tinca tinca", "crane (n02)", "crane (n03)"]


def test_the_format_is_found_out(folders):
    assert format_of(folders) == "folders"
    assert len(open_split(folders, "val")) == 3
    (folders / "val").rename(folders / "validation")
    assert len(open_split(folders, "val")) == 3
    with pytest.raises(InputError, match="no masks"):
        open_split(folders, "val", reads=["masks"])


def test_ground_truth_has_the_class_of_each_image(folders):
    truth = ImageFolderDataset(folders, "val").ground_truth()
    assert [(image["id"], image["category_id"]) for image in truth["images"]] == [
        ("n01/v.png", 1),
        ("n02/v.png", 2),
        ("n03/v.png", 3),
    ]
    assert truth["annotations"] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_know_the_classes(folders, workers):
    data = DataModule(root=folders, batch_size=3, num_workers=workers, augmentation=None)
    data.setup("fit")
    images, targets = next(iter(data.train_dataloader()))
    assert len(images) == 3
    expected = {"n01": 0, "n02": 1, "n03": 2}
    assert all(target.image_label == expected[target.image_id[:3]] for target in targets)


def test_broken_images_are_named_or_left_out(folders, caplog):
    broken = folders / "train" / "n03" / "deep" / "d.png"
    broken.write_bytes(broken.read_bytes()[:100])
    dataset = ImageFolderDataset(folders, "train")
    with pytest.raises(InputError, match=r"d\.png"):
        dataset[4]
    dataset = ImageFolderDataset(folders, "train", on_bad_image="skip")
    assert len(dataset) == 5
    assert [dataset.target(index).image_label for index in range(5)] == [0, 1, 1, 2, 2]
    assert "d.png" in caplog.text


def test_what_is_missing_is_named(folders):
    with pytest.raises(InputError, match=r"no folder test.*train, val"):
        ImageFolderDataset(folders, "test")
    (folders / "val" / "n02" / "v.png").unlink()
    with pytest.raises(InputError, match="n02: this folder of a class holds no image"):
        ImageFolderDataset(folders, "val")
    (folders / "empty" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="must hold a folder of images for each class"):
        ImageFolderDataset(folders / "empty", "train")


def test_other_classes_in_validation_are_refused(folders):
    (folders / "val" / "n03").rename(folders / "val" / "n04")
    with pytest.raises(InputError, match="n04"):
        DataModule(root=folders).setup("fit")
