"""What every detector promises, shown on the small one: inputs, refusals, prediction."""

import math

import cv2
import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.models import Detector
from detkit.structures import Detections, Target

IMAGE = torch.zeros(3, 40, 60)
BOX, LABEL = torch.tensor([[5.0, 5.0, 20.0, 30.0]]), torch.tensor([0])


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(score_threshold=0.0).eval()


def _same(result, expected):
    assert len(result) == len(expected)
    for name in ("boxes", "scores", "labels"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name))


class TestImages:
    @pytest.mark.parametrize(
        "image",
        [
            torch.zeros(1, 40, 60),
            torch.zeros(40, 60, 3),
            torch.zeros(40, 60),
            torch.zeros(1, 3, 40, 60),
            torch.zeros(3, 0, 60),
            torch.zeros(3, 40, 60, dtype=torch.int64),
            torch.zeros(3, 40, 60, dtype=torch.bool),
            np.zeros((40, 60, 3), np.uint8),
            "street.jpg",
            None,
        ],
        ids=["gray", "channels last", "2-D", "4-D", "no pixels", "int64", "bool", "array", "path", "none"],
    )
    def test_that_are_none_are_refused_by_their_place(self, model, image):
        with pytest.raises(
            InputError, match=r"images\[1\] must be a \(3, H, W\) tensor, uint8 or float in \[0, 1\], got"
        ):
            model([IMAGE, image])

    def test_the_message_says_what_came(self, model):
        with pytest.raises(InputError, match=r"got \(1, 40, 60\) torch\.float32"):
            model([torch.zeros(1, 40, 60)])
        with pytest.raises(InputError, match="got ndarray"):
            model([np.zeros((40, 60, 3), np.uint8)])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ((0.0, 255.0), "from 0 to 255"),
            ((-2.0, 2.5), "from -2 to 2.5"),  # normalized already
            ((0.0, math.nan), "nan"),
            ((0.0, math.inf), "inf"),
        ],
    )
    def test_float_values_outside_of_0_to_1_are_refused(self, model, dtype, values, said):
        image = torch.full((3, 40, 60), values[0], dtype=dtype)
        image[1, 2, 3] = values[1]
        for call in (model, model.predict):
            with pytest.raises(InputError, match=rf"s\[1\] has values .*{said}.* divide one of 0\.\.255 by 255"):
                call([IMAGE, image])
        with pytest.raises(InputError, match=said):
            model([image], [Target(boxes=BOX, labels=LABEL)])

    def test_what_resizing_leaves_a_little_outside_is_taken(self, model):
        image = torch.full((3, 40, 60), -0.1)
        image[0, 0, 0] = 1.2
        assert len(model.predict([image])) == 1

    def test_must_be_at_least_one(self, model):
        with pytest.raises(InputError, match="at least one image"):
            model([])
        with pytest.raises(InputError, match="at least one image"):
            model([], [])


class TestTargets:
    def test_must_be_as_many_as_images(self, model):
        with pytest.raises(InputError, match="2 images but 1 targets"):
            model([IMAGE, IMAGE], [Target.empty()])

    def test_of_another_library_are_refused_by_their_place(self, model):
        with pytest.raises(InputError, match=r"targets\[1\] must be a detkit\.structures\.Target, got dict"):
            model([IMAGE, IMAGE], [Target.empty(), {"boxes": BOX, "labels": LABEL}])

    @pytest.mark.parametrize(
        "box",
        [
            [5, 5, 5, 30],
            [5, 5, 20, 5],
            [20, 5, 5, 30],
            [5, torch.nan, 20, 30],
            [5, 5, torch.inf, 30],
            [-torch.inf, 5, 20, 30],
        ],
        ids=["no width", "no height", "corners swapped", "nan", "infinite", "minus infinite"],
    )
    def test_with_bad_boxes_are_refused_by_the_image_s_id(self, model, box):
        good = Target(BOX.repeat(3, 1), LABEL.repeat(3), image_id=4)
        bad = Target(torch.cat((torch.tensor([box]).float(), BOX)), LABEL.repeat(2), image_id="street.jpg")
        with pytest.raises(
            InputError, match=r"targets\[2\], image id street\.jpg: box \[.*\] with label 0 is not x1 < x2"
        ):
            model([IMAGE] * 4, [good, Target.empty(9), bad, good])

    @pytest.mark.parametrize("label", [-1, 3, 91])
    def test_with_labels_that_the_model_has_not_are_refused(self, model, label):
        bad = Target(BOX, torch.tensor([label]), image_id=12)
        with pytest.raises(InputError, match=rf"targets\[0\], image id 12: box .* with label {label} .* in 0\.\.2"):
            model([IMAGE], [bad])

    def test_a_detector_has_at_least_one_class(self):
        with pytest.raises(InputError, match="num_classes must be at least 1, got 0"):
            Detector(0)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


class TestPredict:
    def test_a_path_an_array_and_a_tensor_are_the_same_image(self, model, pixels, tmp_path):
        path = tmp_path / "image.png"
        cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)
        expected = model([tensor])[0]
        assert len(expected) > 5
        for image in (path, str(path), pixels, pixels[:, ::-1][:, ::-1], tensor, tensor.float() / 255):
            detections = model.predict(image)
            assert isinstance(detections, Detections)
            _same(detections, expected)

    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_a_sequence_gives_a_list_whatever_the_batches(self, model, pixels, batch_size):
        images = [pixels, torch.from_numpy(pixels[:, ::-1].copy()).permute(2, 0, 1), pixels[::-1]]
        result = model.predict(images, batch_size=batch_size)
        assert isinstance(result, list)
        for detections, image in zip(result, images, strict=True):
            _same(detections, model.predict(image))

    def test_an_array_of_images_is_a_sequence(self, model, pixels):
        stacked = np.stack([pixels, pixels[::-1]])
        for images in (stacked, torch.from_numpy(stacked).permute(0, 3, 1, 2), tuple(stacked)):
            detections = model.predict(images)
            assert len(detections) == 2
            _same(detections[1], model.predict(pixels[::-1]))

    def test_one_image_in_a_list_gives_a_list(self, model, pixels):
        assert [type(detections) for detections in model.predict([pixels])] == [Detections]
        assert model.predict([]) == []

    @pytest.mark.parametrize("training", [True, False])
    def test_every_part_is_left_in_its_mode(self, make_model, pixels, training):
        model = make_model().train(training)
        model.backbone.stem.train(not training)
        before = [module.training for module in model.modules()]
        seen = []
        model.backbone.register_forward_hook(lambda module, *_: seen.append(module.training))
        model.predict([pixels, pixels], batch_size=1)
        assert seen == [False, False]
        assert [module.training for module in model.modules()] == before
        with pytest.raises(InputError):
            model.predict("no such file.jpg")
        assert [module.training for module in model.modules()] == before

    def test_has_no_gradients(self, model, pixels):
        assert not model.predict(pixels).scores.requires_grad

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (
                np.zeros((40, 60), np.uint8),
                r"inputs\[1\] must be \(H, W, 3\) uint8 RGB for an array, got \(40, 60\) uint8",
            ),
            (np.zeros((40, 60, 3), np.float32), r"inputs\[1\] must be .*, got \(40, 60, 3\) float32"),
            (np.zeros((40, 60, 4), np.uint8), r"inputs\[1\] must be .*, got \(40, 60, 4\) uint8"),
            (torch.zeros(40, 60), r"inputs\[1\] must be a \(3, H, W\) tensor"),
            (7, r"inputs\[1\] must be a path, an array, a tensor or a PIL image, got int"),
            ("missing.jpg", r"missing\.jpg"),
        ],
    )
    def test_refuses_what_is_no_image_by_its_place(self, model, pixels, wrong, message):
        with pytest.raises(InputError, match=message):
            model.predict([pixels, wrong], batch_size=1)

    @pytest.mark.parametrize("wrong", [np.zeros((40, 60), np.uint8), torch.zeros(40, 60), 7, object()])
    def test_refuses_a_single_one_too(self, model, wrong):
        with pytest.raises(InputError, match=r"inputs\[0\] must be"):
            model.predict(wrong)
