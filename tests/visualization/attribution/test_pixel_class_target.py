"""The class of a label map as a target: of the pixels that have it, without padding."""

import pytest
import torch

from detkit.backbones import UNetEncoder
from detkit.errors import InputError
from detkit.models import UNet
from detkit.preprocess import OriginalSize
from detkit.visualization.attribution.grad_cam import grad_cam
from detkit.visualization.attribution.pixel_class_target import PixelClassTarget


@pytest.fixture
def model():
    torch.manual_seed(1)
    return UNet(UNetEncoder(width=1 / 16, padded=True), 3, preprocess=OriginalSize(divisor=16)).eval()


@pytest.fixture
def image():
    return torch.rand(3, 37, 44, generator=torch.Generator().manual_seed(0))


def own_logits(model, image):
    """The logits of the image, ``(K, 37, 44)``: it is padded to 48 pixels, at the right and below."""
    pixels = torch.zeros(1, 3, 48, 48)
    pixels[0, :, :37, :44] = (image - model.preprocess.mean) / model.preprocess.std
    return model.raw(pixels).logits[0, :, :37, :44]


def test_scores_and_objective(model, image):
    answer = model.predict(image).label_map
    label = int(answer.flatten().mode().values)
    target = PixelClassTarget(model, image, label)
    assert torch.equal(target.pixels, answer == label)
    logits = own_logits(model, image).detach()
    probability = logits.double().softmax(dim=0)[label][answer == label].mean()
    assert float(target.scores(image[None])[0]) == pytest.approx(float(probability), abs=1e-5)
    assert float(target.objective(image).detach()) == pytest.approx(
        float(logits[label][answer == label].mean()), abs=1e-4
    )


def test_grad_cam_is_that_of_the_equation(model, image):
    """Equation 1 of Grad-CAM, of the mean logit of those pixels."""
    label = int(model.predict(image).label_map.flatten().mode().values)
    target = PixelClassTarget(model, image, label)
    kept = {}
    layer = next(name for name, one in model.named_modules() if isinstance(one, torch.nn.ReLU))
    handle = model.get_submodule(layer).register_forward_hook(lambda *one: kept.update(maps=one[2]))
    value = own_logits(model, image)[label][target.pixels].mean()
    handle.remove()
    (gradient,) = torch.autograd.grad(value, kept["maps"])
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * kept["maps"]).sum(dim=1)[0].relu().detach()
    found = grad_cam(target.network, layer, lambda: target.objective(image), (48, 48))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_class_that_no_pixel_has(model, image):
    with torch.no_grad():
        model.head.classes.bias[1] = -1e4
    with pytest.raises(InputError, match="no pixel of the image has the class 1"):
        PixelClassTarget(model, image, 1)
