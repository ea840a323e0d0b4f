"""Clipping gradients in mixed precision, whatever the optimizer."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim import Optimizer


def clip_for_fused_step(trainer: Trainer, optimizer: Optimizer, limit: float, algorithm: str) -> bool:
    """Clip the gradients of an optimizer that can unscale them in its step, which Lightning refuses to do.

    In float16 the gradients are scaled, and a fused optimizer divides by the scale while it steps. To clip them, they
    are unscaled before; torch's scaler then knows, and has the step not divide again. In bfloat16 there is no scale.

    Args:
        trainer: of the run.
        optimizer: its parameters have gradients.
        limit: the largest norm, or value; 0: gradients stay as they are.
        algorithm: ``norm`` or ``value``.

    Returns:
        Whether they are clipped; False where Lightning can do it.
    """
    plugin = trainer.precision_plugin
    if not (isinstance(plugin, MixedPrecision) and getattr(optimizer, "_step_supports_amp_scaling", False)):
        return False
    if limit > 0:
        if plugin.scaler is not None:
            plugin.scaler.unscale_(optimizer)
        Precision.clip_gradients(plugin, optimizer, limit, GradClipAlgorithmType(algorithm))
    return True
