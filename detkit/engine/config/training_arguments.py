"""The arguments of ``detkit train``: the schema of a recipe."""

from __future__ import annotations

from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from detkit.data import DataModule
from detkit.engine.config.evaluator_entries import add_evaluators, add_old_keys
from detkit.engine.optim import LayerDecay, OptimizerFactory, Schedule
from detkit.engine.trainer.trainer_options import OWN
from detkit.learners import Learner
from detkit.models import VisionModel

PLAIN = {"class_path": "detkit.learners.PlainLearner"}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}}

OWN_TRAINER_ARGUMENTS = set(OWN)
"""Arguments of Lightning's `Trainer` that a recipe does not have."""

COMMAND_ONLY = ("config", "resume", "overwrite", "print_config")
"""Arguments that are not recorded with a run."""


def add_training_arguments(parser: ArgumentParser) -> None:
    """Declare the recipe: the typed constructors of model, data, optimizer, schedule and trainer are its schema."""
    parser.add_argument("--config", action="config", help="recipe: a name or a YAML file; later arguments override it")
    parser.add_argument("--resume", type=str | None, help="run to continue: its folder or a checkpoint in it")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run of the same name")
    parser.add_argument("--name", type=str | None, help="name of the run; default: that of the recipe")
    parser.add_argument("--runs", type=str, default="runs", help="folder in which run folders are created")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, image order, augmentation and sampling")
    parser.add_argument(
        "--start_from",
        type=str | None,
        help="weights to begin with: a checkpoint, the folder of a run, torchvision:NAME, torchvision:NAME,FILE, "
        "detectron2:NAME,FILE or darknet:CFG,WEIGHTS. Classes of the same name keep their outputs",
    )
    parser.add_subclass_arguments(VisionModel, "model", required=True, help="model: a detector, classifier or your own")
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    add_learning_arguments(parser)
    parser.add_argument(
        "--ema", type=float | None, help="decay of an exponential moving average of the weights, such as 0.9998"
    )
    add_evaluators(parser, "those of the model's task. The headline metric of the first one selects best.ckpt")
    add_old_keys(parser)
    parser.add_argument(
        "--validation_loss", type=bool, default=False, help="also log the losses on the validation images"
    )
    parser.add_argument(
        "--pictures", type=int, default=4, help="number of validation images to draw after each validation"
    )
    parser.add_argument(
        "--save_every_n_steps", type=int | None, help="also write last.ckpt within epochs, every N steps"
    )
    parser.add_argument(
        "--compile", type=bool, default=False, help="compile backbone, neck and layers of heads with torch.compile"
    )
    parser.add_class_arguments(Trainer, "trainer", skip=OWN_TRAINER_ARGUMENTS, instantiate=False)
    parser.set_defaults({"trainer.max_epochs": 12, "trainer.log_every_n_steps": 10})
    parser.link_arguments("seed", "data.seed")
    parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")


def add_learning_arguments(parser: ArgumentParser) -> None:
    """Declare learner, optimizer and learning rates."""
    parser.add_argument(
        "--learner", type=Learner, default=PLAIN, help="losses of a training step; default: those of the model"
    )
    parser.add_argument("--optimizer", type=OptimizerFactory, default=SGD, help="torch optimizer, without its `params`")
    parser.add_argument("--schedule", type=Schedule | None, help="learning-rate schedule; default: constant")
    parser.add_argument(
        "--decay_norm_and_bias", type=bool, default=True, help="apply weight decay to normalization layers and biases"
    )
    parser.add_argument(
        "--lr_batch_size",
        type=int | None,
        help="images per step that the learning rate is meant for; the rate is scaled to the actual number",
    )
    parser.add_argument(
        "--lr_factors",
        type=dict[str, float] | None,
        help="learning-rate factors by prefix of parameter names, such as {backbone: 0.1}",
    )
    parser.add_argument(
        "--lr_layer_decay",
        type=LayerDecay | None,
        help="learning rates that decay from the output to the input; lr_factors take precedence",
    )
