"""Random models whose scores differ, so that the order of detections does not hang on the last digit."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def spread(model, images):
    """Scale each layer of the head so that its outputs for `images` have a standard deviation of 1.

    That of several levels has it for the level of the greatest outputs.
    """
    seen = set()

    def rescale(layer, inputs, output):
        deviation = output.std().clamp(min=1e-6)
        if layer in seen and deviation <= 1:
            return output
        layer.weight.mul_(1 / deviation)
        if layer.bias is not None and layer not in seen:
            layer.bias.normal_(std=0.3)
        seen.add(layer)
        return layer.forward(*inputs)

    head = getattr(model, "head", model)  # darknet's networks have none
    layers = [layer for layer in head.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    model(images)
    for hook in hooks:
        hook.remove()
    return model
