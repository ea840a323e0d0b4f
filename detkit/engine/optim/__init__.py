"""Parameter groups, learning rates and optimizers."""

from detkit.engine.optim.lars import LARS
from detkit.engine.optim.parameter_groups import (
    LayerDecay,
    apply_lr_factors,
    check_lr_factors,
    check_same_groups,
    group_parameters,
    learning_rate,
    parameter_groups,
    scale_learning_rates,
)
from detkit.engine.optim.schedules import Schedule, WarmupCosine, WarmupMultiStep, WarmupPolynomial
from detkit.learners import OptimizerFactory

__all__ = [
    "LARS",
    "LayerDecay",
    "OptimizerFactory",
    "Schedule",
    "WarmupCosine",
    "WarmupMultiStep",
    "WarmupPolynomial",
    "apply_lr_factors",
    "check_lr_factors",
    "check_same_groups",
    "group_parameters",
    "learning_rate",
    "parameter_groups",
    "scale_learning_rates",
]
