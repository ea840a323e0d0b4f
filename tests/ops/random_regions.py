"""Random maps and regions, and what an op that crops them gives, with its gradient."""

import torch
from torch import Tensor


def random_rois(count: int, images: int, size: float, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Regions of all sizes, some partly or wholly outside of the image."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator, dtype=dtype) * size * 1.2 - size * 0.1
    sides = size * 2 ** -(torch.rand(count, 2, generator=generator, dtype=dtype) * 6)
    image = torch.randint(0, images, (count, 1), generator=generator).to(dtype)
    return torch.cat([image, center - sides / 2, center + sides / 2], 1)


def random_map(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def crops_and_gradient(op, features: Tensor, rois: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    """The crops, and the gradient that `features` get where the crops' is random, but the same for every op."""
    features = features.detach().requires_grad_()
    crops = op(features, rois, *arguments)
    weights = torch.randn(crops.shape, generator=torch.Generator().manual_seed(2))
    return crops.detach(), torch.autograd.grad((crops * weights).sum(), features)[0]
