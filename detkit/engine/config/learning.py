"""The part of a training's config that says what is learned and how fast."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from detkit.data import DataModule
from detkit.engine.optim import LayerDecay, OptimizerFactory, Schedule
from detkit.errors import InputError
from detkit.learners import Learner

PLAIN = {"class_path": "detkit.learners.PlainLearner"}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}}


def add_learning_arguments(parser: ArgumentParser) -> None:
    """Declare learner, optimizer and learning rates."""
    parser.add_argument(
        "--learner", type=Learner, default=PLAIN, help="what a step learns; default: the model's losses"
    )
    parser.add_argument("--optimizer", type=OptimizerFactory, default=SGD, help="a torch optimizer, without `params`")
    parser.add_argument(
        "--schedule", type=Schedule | None, help="the learning rate over the run; constant if not given"
    )
    parser.add_argument("--decay_norm_and_bias", type=bool, default=True, help="weight decay on these as well")
    parser.add_argument(
        "--lr_batch_size",
        type=int | None,
        help="how many images per step the learning rate is for: with more or fewer it changes in proportion",
    )
    parser.add_argument(
        "--lr_factors",
        type=dict[str, float] | None,
        help="of the learning rate by the beginning of parameters' names, such as {backbone: 0.1}",
    )
    parser.add_argument(
        "--lr_layer_decay",
        type=LayerDecay | None,
        help="learning rates that fall from the output to the input, beside lr_factors",
    )


def lr_factors(config: Namespace) -> dict[str, float]:
    """The factors of learning rates by prefix: those of ``lr_factors``, and else those of ``lr_layer_decay``."""
    decayed = config.lr_layer_decay.factors() if config.lr_layer_decay else {}
    return decayed | (config.lr_factors or {})


def check_sources(learner: Learner, data: DataModule) -> None:
    """Refuse data sources that the learner does not have, and those that it does not read.

    Raises:
        InputError: it names the first one.
    """
    given, needed = {source.name for source in data.sources}, set(learner.sources)
    name = type(learner).__name__
    for missing in sorted(needed - given):
        raise InputError(
            f"The {name} learns from a data source named {missing}: give one of this name in data.sources."
        )
    for unused in sorted(given - needed):
        raise InputError(f"The {name} does not read the data source {unused}: leave it out, or choose another learner.")


def check_trainer(trainer: Trainer, module: LightningModule, learner: Learner) -> None:
    """Refuse what does not work with several optimizers.

    Raises:
        InputError: it names the setting.
    """
    if module.automatic_optimization:
        return
    name = type(learner).__name__
    for key, neutral in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
        value = getattr(trainer, key)
        if value and value != neutral:
            raise InputError(
                f"trainer.{key} is {value}, but {name} has several optimizers that take turns: leave it out."
            )
    options = getattr(trainer.strategy, "_ddp_kwargs", {})
    if isinstance(trainer.strategy, DDPStrategy) and not options.get("find_unused_parameters"):
        raise InputError(
            f"{name} has several optimizers that take turns: with several processes set trainer.strategy to "
            "ddp_find_unused_parameters_true."
        )
