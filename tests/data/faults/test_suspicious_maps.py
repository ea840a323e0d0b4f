"""Signs that label maps are not what is meant."""

import numpy as np
import pytest
import torch

from detkit.data.faults.suspicious_maps import MapPixels, suspicious_maps, useless_maps
from detkit.data.image_dataset import ImageDataset
from detkit.structures import Category, Target


class Maps(ImageDataset):
    annotations_path = "maps"

    def __init__(self, maps, names=("road", "sky", "person")):
        self.maps, self.names = maps, names

    @property
    def categories(self):
        return [Category(number, name) for number, name in enumerate(self.names, 1)]

    @property
    def image_ids(self):
        return [f"image {number}" for number in range(len(self.maps))]

    @property
    def image_sizes(self):
        return np.full((len(self.maps), 2), 40)

    def read(self, index):
        own = self.maps[index]
        label_map = None if own is None else torch.from_numpy(own)
        return np.zeros((40, 40, 3), np.uint8), Target(image_id=self.image_ids[index], label_map=label_map)


def good():
    return np.repeat(np.array([0, 1, 2, 255], np.uint8), 10)[None].repeat(40, axis=0)


def test_good_maps_have_none():
    assert suspicious_maps(Maps([good(), good()])) == []
    assert suspicious_maps(Maps([])) == []


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ([good(), None], "1 of 2 images have no label map and teach nothing, such as 'image 1'"),
        (
            [good(), np.full((40, 40), 255, np.uint8)],
            "1 of 2 label maps have no class in more than 90%",
        ),
        ([np.zeros((40, 40), np.uint8)] * 3, "3 of 3 label maps hold one class alone, mostly 'road'"),
        ([good().clip(1, 255)] * 2, "maps: road never occurs in 2 label maps"),
    ],
)
def test_each_sign_is_a_sentence(maps, words):
    found = suspicious_maps(Maps(maps))
    assert any(words in sentence for sentence in found), found


def test_a_rare_class_is_named():
    rare = np.zeros((40, 40), np.uint8)
    rare[:, 20:] = 1
    rare[0, 0] = 2
    (sentence,) = suspicious_maps(Maps([rare]))
    assert "person has less than 0.1% of the pixels each: weight the classes" in sentence


def test_no_more_maps_are_read_than_needed():
    class Counted(Maps):
        reads = 0

        def read(self, index):
            self.reads += 1
            return super().read(index)

    dataset = Counted([good()] * 500)
    suspicious_maps(dataset)
    assert dataset.reads == 64


def test_useless_maps_are_told_by_a_few_of_them():
    binary = np.where(good() > 1, 255, 0).astype(np.uint8)
    (sign,) = useless_maps(MapPixels.of(Maps([binary] * 20), 16))
    assert sign.what == "16 of 16 label maps hold one class alone, mostly 'road', though there are 3 classes"
    assert "255 means no class: of masks of 0 and 255, say so in a classes.json" in sign.advice
    assert useless_maps(MapPixels.of(Maps([good().clip(1, 255)] * 20), 16)) == []
    assert useless_maps(MapPixels.of(Maps([]), 16)) == []
