"""What a training step learns: plain losses of a model, or what a learner of one's own makes of model and batch."""

from detkit.learners.batch import TrainingBatch
from detkit.learners.learner import Learner, OptimizerFactory, Phase, frozen
from detkit.learners.plain import PlainLearner

__all__ = ["Learner", "OptimizerFactory", "Phase", "PlainLearner", "TrainingBatch", "frozen"]
