"""Every family on a GPU that is imitated: a clipped step, and answers, without a run around them.

Whole runs of the recipes are in `tests/engine/test_on_imitated_device.py`.
"""

import pytest
import torch
from narrow_models import MODELS, batch_for

from detkit.structures.device_transfer import images_on
from detkit.testing.imitation import imitated_device


def _devices(answers):
    tensors = [value for answer in answers for value in vars(answer).values() if isinstance(value, torch.Tensor)]
    return {tensor.device.type for tensor in tensors}


@pytest.mark.parametrize("name", MODELS)
def test_a_family_learns_and_predicts_there(tiny_backbone, name):
    torch.manual_seed(0)
    with imitated_device() as device:
        model = MODELS[name](tiny_backbone)
        images, targets = batch_for(model, 2)
        model = model.to("cuda")
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(weights, 1e-3)
        losses = model(images_on(images, device.device), targets)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        assert {parameter.device.type for parameter in model.parameters()} == {"cuda"}
        answers = model.predict(images, given=targets if model.asks_for else None)
        assert _devices(answers) <= {"cpu"}
        with torch.inference_mode():
            folded = model.eval().folded()
            moved = images_on(images, device.device)
            answers = folded(moved, given=targets) if model.asks_for else folded(moved)
    assert all(len(vars(answer)) for answer in answers)
