"""The nets of the papers, narrow, learn the maps of a few images by heart."""

import pytest
import torch

from detkit.backbones import ConvolutionalVGG16, SegNetBasicEncoder, SegNetEncoder, UNetEncoder
from detkit.models import FCN8s, SegNet, SegNetBasic, UNet
from detkit.structures import Target

SIZE = (33, 41)
NETS = {
    "fcn8s": (lambda: FCN8s(ConvolutionalVGG16(1 / 16), 3, learned_upsampling=True), 0.9),
    "unet": (lambda: UNet(UNetEncoder(1 / 8), 3), 0.95),
    "unet padded": (lambda: UNet(UNetEncoder(1 / 8, padded=True), 3, weighted=True), 0.95),
    "segnet": (lambda: SegNet(SegNetEncoder(1 / 8), 3), 0.95),
    "segnet basic": (lambda: SegNetBasic(SegNetBasicEncoder(1 / 8), 3), 0.95),
}


def samples():
    """Four images of a bright disc and a dark box on noise, and their maps."""
    images, targets = [], []
    generator = torch.Generator().manual_seed(0)
    y, x = torch.arange(SIZE[0])[:, None], torch.arange(SIZE[1])
    for _ in range(4):
        (row, left), radius = torch.randint(8, 20, (2,), generator=generator).tolist(), 7
        label_map = torch.zeros(SIZE, dtype=torch.uint8)
        label_map[row : row + 10, left : left + 14] = 2
        label_map[(y - row) ** 2 + (x - left) ** 2 < radius**2] = 1
        value = torch.tensor([0.5, 0.9, 0.1])[label_map.long()]
        images.append((value + 0.1 * torch.randn(3, *SIZE, generator=generator)).clamp(0, 1))
        targets.append(Target(label_map=label_map))
    return images, targets


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_it_learns_a_few_images(name):
    torch.manual_seed(0)
    make, least = NETS[name]
    model, (images, targets) = make().train(), samples()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], 2e-3, weight_decay=0.0)
    for _ in range(80):
        optimizer.zero_grad()
        model(images, targets)["semantic"].backward()
        optimizer.step()
    answers = model.eval()(images)
    same = [(one.label_map == target.label_map).float().mean() for one, target in zip(answers, targets, strict=True)]
    assert torch.stack(same).mean() > least
