"""Learners: the losses of a training step, plain ones of the model or your own."""

from detkit.learners.joined_sources import JoinedSources
from detkit.learners.learner import Learner, OptimizerFactory, Phase, freeze_module
from detkit.learners.plain import PlainLearner
from detkit.learners.steady import SteadyLearner
from detkit.learners.training_batch import TrainingBatch

__all__ = [
    "JoinedSources",
    "Learner",
    "OptimizerFactory",
    "Phase",
    "PlainLearner",
    "SteadyLearner",
    "TrainingBatch",
    "freeze_module",
]
