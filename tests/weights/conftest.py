"""Small darknet networks with random numbers."""

import pytest
import torch

from detkit.weights import from_darknet, to_darknet
from detkit.weights.darknet.outputs import OutputLayer


def randomize(network, seed, spread):
    """Numbers that keep every layer's output near 1, the answers' by `spread`, and batch norm far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer, following in zip(network.layers, [*network.layers[1:], None], strict=True):
            scale = spread if isinstance(following, OutputLayer) else 1.6
            for name, weights in [*layer.named_parameters(), *layer.named_buffers()]:
                if not weights.is_floating_point() or name == "anchors":
                    continue
                fan = weights[0].numel() if weights.ndim > 1 else 1
                weights.copy_(torch.randn(weights.shape, generator=generator) * (scale / fan) ** 0.5)
                if name.endswith(("running_var", "batch_norm.weight")):
                    weights.abs_().add_(0.4)


@pytest.fixture
def saved(tmp_path):
    """Write a cfg with random weights; gives the stem of both files."""

    def save(cfg, seed=0, spread=0.2):
        (tmp_path / "random.cfg").write_text(str(cfg))
        model = from_darknet(tmp_path / "random.cfg")
        randomize(model.network, seed, spread)
        to_darknet(model, tmp_path / "random")
        return tmp_path / "random"

    return save
