"""Learners of someone else's package, each of another kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.learners import Learner, OptimizerFactory, Phase, TrainingBatch


def features(model, images: list[Tensor]) -> Tensor:
    return model.norm(
        model.trunk(torch.stack([F.interpolate(i[None].float() / 255, size=(32, 32))[0] for i in images]))
    )


class AdversarialTraining(Learner):
    """The model learns images that a step along the sign of the gradient has made worse (FGSM)."""

    def losses(self, model, batch: TrainingBatch) -> dict[str, Tensor]:
        images = [(image.float() / 255).requires_grad_() for image in batch.images]
        before = torch.stack(list(model([image * 255 for image in images], batch.targets).values())).sum()
        gradients = torch.autograd.grad(before, images)
        worse = [
            (image + 2 / 255 * gradient.sign()).clamp(0, 1).detach() * 255
            for image, gradient in zip(images, gradients, strict=True)
        ]
        return {f"adversarial.{name}": value for name, value in model(worse, batch.targets).items()}


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


class DomainAdaptation(Learner):
    """Features of the labeled images and of unlabeled ones become alike (Ganin 2015)."""

    sources = ("other",)

    def setup(self, model: nn.Module) -> None:
        self.domain = nn.Linear(model.score.in_features, 1)

    def losses(self, model, batch: TrainingBatch) -> dict[str, Tensor]:
        other = batch.sources["other"]
        assert other.targets is None
        maps = features(model, [*batch.images, *other.images]).flatten(1)
        origin = torch.tensor([[1.0]] * len(batch.images) + [[0.0]] * len(other.images))
        scores = self.domain(Reversed.apply(maps, batch.progress))
        return model(batch.images, batch.targets) | {"domain": F.binary_cross_entropy_with_logits(scores, origin)}


class Semisupervised(Learner):
    """Learns the labels of another source too."""

    sources = ("labeled",)

    def losses(self, model, batch: TrainingBatch) -> dict[str, Tensor]:
        other = batch.sources["labeled"]
        further = {f"labeled.{name}": value for name, value in model(other.images, other.targets).items()}
        return model(batch.images, batch.targets) | further


class TakesTurns(Learner):
    """A discriminator learns to tell the model's features from noise; the model learns its boxes and to deceive it."""

    def __init__(self, width: int = 4, optimizer: OptimizerFactory | None = None) -> None:
        super().__init__()
        self.discriminator = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, 1))
        self.optimizer = optimizer

    def setup(self, model: nn.Module) -> None:
        self.discriminator(torch.zeros(1, model.score.in_features))

    def phases(self, model: nn.Module) -> list[Phase]:
        return [
            Phase("discriminator", self.judge, [self.discriminator], self.optimizer),
            Phase("generator", self.deceive, [model]),
        ]

    def judge(self, model, batch: TrainingBatch) -> dict[str, Tensor]:
        made = features(model, batch.images)
        assert not made.requires_grad, "the model has no turn"
        noise = self.noise(made)
        return {
            "made": F.softplus(self.discriminator(made)).mean(),
            "noise": F.softplus(-self.discriminator(noise)).mean(),
        }

    def noise(self, made: Tensor) -> Tensor:
        return torch.randn_like(made)

    def deceive(self, model, batch: TrainingBatch) -> dict[str, Tensor]:
        assert not any(parameter.requires_grad for parameter in self.discriminator.parameters())
        adversarial = F.softplus(-self.discriminator(features(model, batch.images))).mean()
        return model(batch.images, batch.targets) | {"adversarial": adversarial}


class TakesTurnsAlike(TakesTurns):
    """Draws nothing, so that two processes learn what one learns."""

    def noise(self, made: Tensor) -> Tensor:
        return torch.linspace(-1, 1, made[0].numel()).view_as(made[0]).expand_as(made)


class Forgetful(TakesTurns):
    """Leaves the model out."""

    def phases(self, model: nn.Module) -> list[Phase]:
        return [*super().phases(model)[:1], Phase("again", self.judge, [self.discriminator])]
