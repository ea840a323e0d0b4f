"""Label maps as files: what is written is what was predicted."""

import io
import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detkit.errors import InputError
from detkit.results import color_png, label_png, map_polygons, polygon_json
from detkit.structures import Category, SemanticMap
from detkit.visualization.map_drawing import color_map

SMALL = [Category(0, "background"), Category(7, "road", color=(10, 200, 30)), Category(254, "person")]
LARGE = [Category(1, "road"), Category(300, "person")]


def random_map(classes: int, seed: int, dtype=torch.uint8) -> SemanticMap:
    """Blobs, with some pixels without a class."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.normal(size=(37, 53)), (0, 0), 2)
    cuts = np.quantile(noise, np.linspace(0, 1, classes + 1)[1:-1])
    labels = np.digitize(noise, cuts)
    labels[random.random(labels.shape) < 0.05] = 255 if dtype == torch.uint8 else -1
    return SemanticMap(torch.from_numpy(labels).to(dtype))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


class TestLabelPng:
    def test_holds_category_ids_and_the_colors_of_the_classes(self):
        answer = random_map(3, 0)
        image = opened(label_png(answer, SMALL))
        assert image.mode == "P"
        expected = np.append([0, 7, 254], 255)[answer.label_map.clamp(max=3)]
        assert np.array_equal(np.array(image), expected)
        colors, known = np.array(image.convert("RGB")), expected != 255
        assert np.array_equal(colors[known], color_map(answer.label_map, SMALL)[known])

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
    def test_has_16_bits_where_an_id_needs_them(self, dtype):
        answer = random_map(2, 1, dtype)
        written = cv2.imdecode(np.frombuffer(label_png(answer, LARGE), np.uint8), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint16
        labels = answer.label_map.int()
        none = 255 if dtype == torch.uint8 else -1
        assert np.array_equal(written, np.array([1, 300, 65535])[torch.where(labels == none, 2, labels)])

    def test_refuses_ids_that_do_not_fit(self):
        answer = SemanticMap(torch.zeros(2, 2, dtype=torch.uint8))
        with pytest.raises(InputError, match="the category 'far' has the id 70000, a label map holds 0 to 65534"):
            label_png(answer, [Category(70000, "far")])


def test_the_color_png_is_the_color_of_each_class():
    answer = random_map(3, 2)
    assert np.array_equal(np.array(opened(color_png(answer, SMALL))), color_map(answer.label_map, SMALL))


class TestPolygons:
    @pytest.mark.parametrize("seed", range(6))
    def test_hold_exactly_the_pixels_of_the_mask(self, seed):
        mask = np.random.default_rng(seed).random((19, 23)) < (0.2, 0.4, 0.5, 0.6, 0.8, 1.0)[seed]
        covered = np.zeros(mask.shape, int)
        for rings, pixels in map_polygons(mask):
            inside = np.logical_xor.reduce([_inside(ring, mask.shape) for ring in rings])
            assert inside.sum() == pixels
            covered += inside
        assert np.array_equal(covered, mask.astype(int))
        parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        assert len(map_polygons(mask)) == parts - 1

    def test_are_closed_rings_of_corners(self):
        mask = np.zeros((4, 5), bool)
        mask[1:3, 1:4] = True
        ((rings, pixels),) = map_polygons(mask)
        (ring,) = rings
        assert pixels == 6
        assert ring[0] == ring[-1]
        assert sorted(ring[:-1]) == [[1, 1], [1, 3], [4, 1], [4, 3]]

    def test_are_geojson_with_the_class_of_each(self):
        answer = random_map(3, 3)
        found = json.loads(polygon_json(answer, SMALL))
        assert found["type"] == "FeatureCollection"
        counts = dict.fromkeys((one.id for one in SMALL), 0)
        for feature in found["features"]:
            counts[feature["properties"]["category_id"]] += feature["properties"]["pixels"]
        assert counts == {SMALL[label].id: count for label, count in answer.pixels().items()}


def _inside(ring, size) -> np.ndarray:
    """The pixels whose centers lie within a ring, by the number of edges at their left."""
    height, width = size
    inside = np.zeros(size, bool)
    for (x1, y1), (x2, y2) in pairwise(ring):
        assert x1 == x2 or y1 == y2
        if x1 == x2:
            rows = slice(min(y1, y2), max(y1, y2))
            inside[rows] ^= np.arange(width)[None] >= x1
    return inside[:height]


def test_a_table_of_pixels():
    pandas = pytest.importorskip("pandas")
    table = random_map(3, 4).of_image(np.zeros((37, 53, 3), np.uint8), SMALL).to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table) == ["name", "label", "pixels", "share"]
