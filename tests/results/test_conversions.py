"""Predictions as those of other packages, and as pictures."""

import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image, ImageShow
from pycocotools import mask as coco_mask

from detkit.errors import InputError
from detkit.ops import masks_to_rle
from detkit.results import pictures
from detkit.structures import Category, Classification, Detections, ImageSource, Meshes
from detkit.structures.meshes import icosphere
from detkit.visualization import draw_classes, draw_detections

CATEGORIES = [Category(5, "RBC", keypoints=("top", "bottom")), Category(9, "WBC")]
IMAGE = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
MASKS = torch.rand(3, 30, 20, generator=torch.Generator().manual_seed(0)) > 0.5


@pytest.fixture
def detections():
    return Detections(
        torch.tensor([[1.5, 2, 11, 22], [5, 5, 9, 9], [-4, 0, 3, 40]]),
        torch.tensor([0.9, 0.8, 0.3]),
        torch.tensor([0, 1, 0]),
        masks_to_rle(MASKS),
        torch.arange(18.0).reshape(3, 2, 3),
        source=ImageSource(IMAGE, categories=CATEGORIES),
    )


class TestCoco:
    def test_entries_are_those_of_the_results_format(self, detections):
        entries = detections.to_coco(image_id=12)
        assert [entry["category_id"] for entry in entries] == [5, 9, 5]
        assert [entry["image_id"] for entry in entries] == [12] * 3
        assert entries[0]["bbox"] == [1.5, 2, 9.5, 20]
        assert entries[0].keys() == {"image_id", "category_id", "bbox", "score", "segmentation", "keypoints"}
        for entry, mask, points in zip(entries, MASKS, detections.keypoints, strict=True):
            assert np.array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), mask.numpy())
            assert entry["keypoints"] == points.flatten().tolist()

    def test_the_image_is_named_by_its_path(self, detections, tmp_path):
        Image.fromarray(IMAGE).save(tmp_path / "a.png")
        named = detections.of_image(tmp_path / "a.png")
        assert {entry["image_id"] for entry in named.to_coco()} == {str(tmp_path / "a.png")}
        with pytest.raises(InputError, match="to_coco needs the image_id"):
            detections.to_coco()


def test_meshes_and_voxels_change_no_format(detections):
    """None of these has shapes, except arrays, which have voxels."""
    shaped = replace(detections, voxels=torch.rand(3, 4, 5, 5), meshes=Meshes.cat([icosphere()] * 3))
    assert shaped.to_coco(1) == detections.to_coco(1)
    assert shaped.to_numpy().keys() == detections.to_numpy().keys() | {"voxels"}
    assert np.array_equal(shaped.plot(), detections.plot())
    if find_spec("pandas"):
        assert shaped.to_pandas().equals(detections.to_pandas())
    if find_spec("supervision"):
        assert shaped.to_supervision() == detections.to_supervision()


class TestPandas:
    def test_a_row_for_each(self, detections):
        pytest.importorskip("pandas")
        table = detections.to_pandas()
        assert list(table["name"]) == ["RBC", "WBC", "RBC"]
        assert table[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == detections.boxes.tolist()
        assert list(table["mask_area"]) == MASKS.sum(dim=(1, 2)).tolist()
        assert list(table["bottom_score"]) == [5, 11, 17]
        assert len(detections[:0].to_pandas()) == 0

    def test_classes_too(self):
        pytest.importorskip("pandas")
        table = Classification(torch.tensor([0.6, 0.4]), torch.tensor([1, 0])).to_pandas()
        assert list(table.columns) == ["label", "score"]


class TestSupervision:
    def test_every_field(self, detections):
        pytest.importorskip("supervision")
        converted = detections.to_supervision()
        assert converted.xyxy.tolist() == detections.boxes.tolist()
        assert np.array_equal(converted.mask, MASKS.numpy())
        assert converted.confidence.tolist() == detections.scores.tolist()
        assert converted.class_id.tolist() == [0, 1, 0]
        assert list(converted.data["class_name"]) == ["RBC", "WBC", "RBC"]
        assert np.array_equal(converted[converted.confidence > 0.5].data["keypoints"], detections.keypoints[:2].numpy())
        assert len(Detections.empty().to_supervision()) == 0


@pytest.mark.parametrize("package", ["pandas", "supervision"])
def test_packages_that_are_missing_are_named(detections, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"to_{package} needs {package}: pip install {package}"):
        getattr(detections, f"to_{package}")()


class TestPictures:
    def test_crops_are_the_pixels_that_each_box_touches(self, detections):
        parts = detections.crops()
        assert [part.shape for part in parts] == [(20, 10, 3), (4, 4, 3), (30, 3, 3)]
        assert np.array_equal(parts[1], IMAGE[5:9, 5:9])

    def test_plot_draws_what_scores_enough(self, detections):
        assert np.array_equal(detections.plot(), draw_detections(IMAGE, detections, CATEGORIES, 0.5))
        everything = draw_detections(IMAGE, detections, CATEGORIES, 0)
        assert np.array_equal(detections.plot(score_threshold=0), everything)
        asked = ImageSource(IMAGE, categories=CATEGORIES, score_threshold=0.2)
        assert np.array_equal(detections.with_fitting({"source": asked}).plot(), everything)

    def test_classes_are_plotted_too(self):
        classes = Classification(torch.tensor([0.6, 0.4]), torch.tensor([1, 0])).of_image(IMAGE, CATEGORIES)
        assert np.array_equal(classes.plot(), draw_classes(IMAGE, classes, CATEGORIES))

    @pytest.mark.parametrize("kind", ["file", "pillow", "tensor"])
    def test_the_image_is_that_of_any_input(self, detections, kind, tmp_path):
        Image.fromarray(IMAGE).save(tmp_path / "a.png")
        image = {
            "file": str(tmp_path / "a.png"),
            "pillow": Image.fromarray(IMAGE),
            "tensor": torch.from_numpy(IMAGE).permute(2, 0, 1),
        }[kind]
        assert np.array_equal(detections.of_image(image).image, IMAGE)
        assert detections.of_image(image).categories == CATEGORIES

    def test_save_writes_the_plot(self, detections, tmp_path):
        detections.save(tmp_path / "drawn.png")
        assert np.array_equal(np.array(Image.open(tmp_path / "drawn.png")), detections.plot())

    def test_show_opens_a_viewer_or_says_that_there_is_none(self, detections, monkeypatch):
        shown = []

        class Viewer(ImageShow.Viewer):
            def show(self, image, **_):
                shown.append(np.array(image))
                return 1

        monkeypatch.setattr(ImageShow, "_viewers", [Viewer()])
        detections.show()
        assert np.array_equal(shown[0], detections.plot())
        monkeypatch.setattr(ImageShow, "_viewers", [])
        with pytest.raises(InputError, match=r"no image viewer .* save\(path\)"):
            detections.show()

    @pytest.mark.skipif(find_spec("IPython") is None, reason="IPython is not installed")
    def test_show_displays_in_a_notebook(self, detections, monkeypatch):
        shown = []
        monkeypatch.setattr(pictures, "_in_notebook", lambda: True)
        monkeypatch.setattr("IPython.display.display", shown.append)
        detections.show()
        assert np.array_equal(np.array(shown[0]), detections.plot())
