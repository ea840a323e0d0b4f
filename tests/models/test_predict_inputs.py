"""What `predict` takes as an image, and what it refuses in which words."""

import cv2
import numpy as np
import pytest
import torch
from local_server import serving
from PIL import Image

from detkit.errors import InputError
from detkit.images import downloads, read_image
from detkit.structures import Category, Detections

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def model(make_model):
    model = make_model(score_threshold=0.0).eval()
    model.categories = [Category(7 + label, name) for label, name in enumerate("abc")]
    return model


@pytest.fixture
def folder(tmp_path):
    for index, name in enumerate(("b.png", "a.png", "c.jpg")):
        Image.fromarray(np.roll(PIXELS, 9 * index, 0)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def _same(result, expected):
    assert len(result) == len(expected) > 0
    for name in ("boxes", "scores", "labels"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name))


class TestFolders:
    def test_give_a_list_in_the_order_of_names(self, model, folder):
        result = model.predict(folder, batch_size=2)
        assert [one.source.name for one in result] == [str(folder / name) for name in ("a.png", "b.png", "c.jpg")]
        for one in result:
            _same(one, model.predict(one.source.name))

    def test_patterns_give_a_list_even_of_one(self, model, folder):
        assert [one.source.name for one in model.predict(f"{folder}/*.png")] == [f"{folder}/a.png", f"{folder}/b.png"]
        assert isinstance(model.predict(f"{folder}/c*"), list)
        assert isinstance(model.predict(f"{folder}/a.png"), Detections)

    def test_a_file_with_brackets_in_its_name_is_a_file(self, model, folder):
        (folder / "a.png").rename(folder / "a [1].png")
        assert isinstance(model.predict(folder / "a [1].png"), Detections)

    def test_within_a_list_are_refused(self, model, folder):
        with pytest.raises(InputError, match=r"inputs\[1\] is .*, a folder or a pattern; give it alone"):
            model.predict([PIXELS, folder])

    def test_without_images_are_refused(self, model, tmp_path):
        with pytest.raises(InputError, match="this folder holds no image"):
            model.predict(tmp_path)


class TestVideos:
    def test_are_for_stream(self, model, folder):
        (folder / "walk.mp4").write_bytes(b"video")
        with pytest.raises(InputError, match=r"inputs\[0\] is the video .*use model\.stream\('.*walk\.mp4'\)"):
            model.predict(str(folder / "walk.mp4"))
        with pytest.raises(InputError, match=r"has the video walk\.mp4.*use model\.stream"):
            model.predict(folder)


class TestPillowImages:
    @pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "I;16"])
    def test_of_any_mode_are_read_as_their_files_are(self, model, mode, tmp_path):
        if mode == "I;16":
            image = Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (40, 60), np.uint16))
        else:
            image = Image.fromarray(PIXELS).convert(mode)
        image.save(tmp_path / "image.png")
        assert image.mode == mode
        answer = model.predict(image)
        _same(answer, model.predict(tmp_path / "image.png"))
        assert np.array_equal(answer.image, read_image(tmp_path / "image.png"))
        with Image.open(tmp_path / "image.png") as opened:
            _same(model.predict(opened), answer)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
    def test_are_turned_as_their_files_are(self, model, orientation, suffix, tmp_path):
        path, exif = tmp_path / f"image.{suffix}", Image.Exif()
        exif[274] = orientation
        Image.fromarray(PIXELS).save(path, exif=exif, lossless=True)
        with Image.open(path) as image:
            assert np.array_equal(model.predict(image).image, read_image(path))

    def test_of_unknown_range_or_broken_are_refused_by_their_place(self, model, tmp_path):
        with pytest.raises(InputError, match=r"inputs\[1\] is a PIL image of mode F .*scale them"):
            model.predict([PIXELS, Image.new("F", (9, 9))])
        with pytest.raises(InputError, match=r"inputs\[0\] is a PIL image of mode I "):
            model.predict(Image.new("I", (9, 9), 70000))
        Image.fromarray(PIXELS).save(tmp_path / "image.png")
        (tmp_path / "cut.png").write_bytes((tmp_path / "image.png").read_bytes()[:2000])
        with Image.open(tmp_path / "cut.png") as image, pytest.raises(InputError, match=r"inputs\[3\]: Pillow cannot"):
            model.predict([PIXELS] * 3 + [image])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (PIXELS[..., 0], r"got \(40, 60\) uint8; of a gray image give numpy\.stack"),
        (PIXELS.transpose(2, 0, 1), r"got \(3, 40, 60\) uint8; of channels first give image\.transpose"),
        (np.zeros((40, 60, 4), np.uint8), r"uint8; leave its alpha out"),
        (np.zeros((0, 60, 3), np.uint8), r"got \(0, 60, 3\)"),
    ],
)
def test_arrays_of_another_layout_are_refused_with_what_to_do(model, wrong, said):
    with pytest.raises(InputError, match=r"inputs\[3\] must be \(H, W, 3\) uint8 RGB .*" + said):
        model.predict([PIXELS, PIXELS, PIXELS, wrong])


@pytest.fixture
def address(folder, monkeypatch):
    with serving(folder, monkeypatch) as address:
        yield address


class TestAddresses:
    def test_are_downloaded(self, model, folder, address):
        expected = model.predict(folder / "a.png")
        answer = model.predict(f"{address}/a.png")
        _same(answer, expected)
        _same(model.predict([f"{address}/moved"])[0], expected)
        assert answer.source.name == f"{address}/a.png"
        assert np.array_equal(answer.image, expected.image)  # without a second download

    @pytest.mark.parametrize(
        ("page", "said"),
        [
            ("none.png", r"the server answers 404 \(File not found\)"),
            ("notes.txt", "not an image"),
            ("cut", "only 3 of 5000 bytes arrived"),
        ],
    )
    def test_that_give_no_image_are_refused(self, model, address, page, said):
        with pytest.raises(InputError, match=rf"{address}/{page}: .*{said}"):
            model.predict([f"{address}/a.png", f"{address}/{page}"])

    def test_that_are_large_or_silent_or_nowhere_are_refused(self, model, address, monkeypatch):
        monkeypatch.setattr(downloads, "MOST_BYTES", 2**10)
        with pytest.raises(InputError, match=r"a\.png: this is larger than 0 MiB; download it"):
            model.predict(f"{address}/a.png")
        monkeypatch.setattr(downloads, "STALL_SECONDS", 0.1)
        with pytest.raises(InputError, match=r"silent: the image cannot be downloaded \(nothing arrived for 0\.1 s\)"):
            model.predict(f"{address}/silent")
        with pytest.raises(InputError, match=r"http://127\.0\.0\.1:1/a\.png: the image cannot be downloaded"):
            model.predict("http://127.0.0.1:1/a.png")
        with pytest.raises(InputError, match=r"http://\[: the image cannot be downloaded"):
            model.predict("http://[")


class TestScoreThreshold:
    def test_keeps_those_of_at_least_the_score(self, model):
        everything = model.predict(PIXELS)
        threshold = float(everything.scores[len(everything) // 2])
        for answer in (
            model.predict(PIXELS, score_threshold=threshold),
            model.predict([PIXELS], 8, None, score_threshold=threshold)[0],
        ):
            assert torch.equal(answer.scores, everything.scores[everything.scores >= threshold])
            assert 0 < len(answer) < len(everything)
        assert len(model.predict(PIXELS, score_threshold=0)) == len(everything)

    @pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), "0.5", True])
    def test_is_a_number_from_0_to_1(self, model, wrong):
        with pytest.raises(InputError, match="score_threshold must be a number from 0 to 1"):
            model.predict(PIXELS, score_threshold=wrong)


class TestSource:
    def test_answers_know_the_categories_and_the_image(self, model, folder):
        of_file, of_array = model.predict([folder / "a.png", PIXELS])
        assert of_file.categories == of_array.categories == model.categories
        assert of_file.source.image == folder / "a.png"  # no pixels are kept of a file
        assert of_array.source.image is PIXELS  # no copy
        assert np.array_equal(of_file[:2].image, read_image(folder / "a.png"))
        assert of_file.to("cpu").categories == model.categories

    def test_a_call_of_the_model_keeps_no_image(self, model):
        assert model([torch.from_numpy(PIXELS).permute(2, 0, 1)])[0].source is None

    def test_files_read_by_opencv_are_the_same_images(self, model, folder):
        image = cv2.imread(str(folder / "a.png"), cv2.IMREAD_COLOR_RGB)
        _same(model.predict(image), model.predict(folder / "a.png"))
