"""How often a step of training asks a device for numbers, and so waits for it; counted on the CPU by the operations."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.models import CascadeRCNN, MaskRCNN, RetinaNet
from detkit.preprocess import ShortestEdge
from detkit.structures import Target

IMAGES, SIZE = 4, (96, 128)
ASKING = ("_local_scalar_dense", "nonzero", "bincount", "_unique2", "masked_select", "repeat_interleave.Tensor")


class Asked(TorchDispatchMode):
    """Counts what cannot be answered without the numbers themselves."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        self.counts["all"] += 1
        if name.startswith(("aten.index.", "aten.index_put")):
            self.counts["by mask"] += any(index is not None and index.dtype == torch.bool for index in args[1])
        self.counts["asking"] += any(part in name for part in ASKING)
        return function(*args, **(kwargs or {}))


def _target(generator):
    corners = torch.rand(5, 2, generator=generator) * 50
    boxes = torch.cat((corners, corners + 10 + torch.rand(5, 2, generator=generator) * 30), dim=1)
    masks = torch.rand(5, *SIZE, generator=generator) > 0.5
    return Target(boxes, torch.arange(5) % 3, masks=masks, iscrowd=torch.arange(5) == 4)


# Of commit 0e2a452, counted likewise over the whole step: 34, 44 and 2 that ask, 148, 252 and 60 by mask.
@pytest.mark.parametrize(
    ("model", "most"), [(MaskRCNN, 33), (CascadeRCNN, 43), (RetinaNet, 1)], ids=lambda value: str(value)
)
def test_a_step_waits_a_few_times(tiny_backbone, model, most):
    torch.manual_seed(0)
    built = model(tiny_backbone(), 3, preprocess=ShortestEdge(96, 160))
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *SIZE, generator=generator) for _ in range(IMAGES)]
    context = built.context(images, [_target(generator) for _ in range(IMAGES)])
    with Asked() as asked:
        built.losses(built.heads(built.features(context.batch), context), context)
    assert asked.counts["asking"] <= most
    assert asked.counts["by mask"] == 0
