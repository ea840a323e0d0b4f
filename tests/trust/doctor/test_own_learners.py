"""Learners of one's own, with phases and further data, and weights that a training begins with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from patients import HEALTHY, adam, ssd, subject, write_data

from detkit.data.sources import DataSource
from detkit.learners import Learner, Phase
from detkit.models.transfer.start_report import StartReport
from detkit.trust.doctor.trials.network_trials import check_precision, check_random
from detkit.trust.doctor.trials.overfit_check import check_overfit


class TwoPhases(Learner):
    """Trains the model, then a part of its own, which learns to predict the brightness of further photos."""

    sources = ("photos",)

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.critic = torch.nn.Linear(1, 1)
        self.factor = factor

    def losses(self, model, batch):
        return model(batch.images, batch.targets)

    def critic_losses(self, model, batch):
        photos = batch.sources["photos"]
        assert photos.targets is None
        light = torch.stack([image.float().mean()[None] / 255 for image in photos.images])
        return {"light": self.factor * (self.critic(light) - light).square().mean()}

    def phases(self, model):
        return [Phase("model", self.losses, (model,)), Phase("critic", self.critic_losses, (self.critic,))]


def _optimizers(model, learner, phases):
    return [
        torch.optim.Adam([one for module in phase.modules for one in module.parameters()], lr=1e-3) for phase in phases
    ]


@pytest.fixture
def root(tmp_path):
    return write_data(tmp_path / "data", HEALTHY)


def _subject(root, **learner):
    photos = DataSource("photos", root / "images", labels=False)
    return subject(root, ssd(), {"sources": [photos]}, learner=TwoPhases(**learner), make_optimizers=_optimizers)


def test_phases_and_sources_are_tried_as_they_are_trained(root):
    made = _subject(root)
    finding = check_precision(made)
    assert finding.verdict == "passed"
    assert set(finding.numbers) == {"model.ssd_cls", "model.ssd_box", "critic.light"}
    before = made.learner.critic.weight.clone()
    assert check_overfit(replace(made, steps=40)).verdict == "passed"
    assert torch.equal(made.learner.critic.weight, before)  # a copy is trained


def test_a_loss_of_a_phase_that_is_not_finite_is_named(root):
    finding = check_precision(_subject(root, factor=float("inf")))
    assert finding.verdict == "failed"
    assert "critic.light" in finding.notes[0]


@pytest.mark.parametrize(("missing", "verdict"), [([], "warning"), (["head.weight"], "passed")])
def test_weights_to_begin_with_that_find_nothing(root, missing, verdict):
    """Only those that are for all classes should find something."""
    report = StartReport("best.ckpt", ["all"], [], missing, [], [], (1, 1))
    model = ssd(score_threshold=1.0)
    finding = check_random(subject(root, model, started=report))
    assert finding.verdict == verdict
    assert "with the weights of best.ckpt, on 3 images" in finding.sentence
    assert ("model.preprocess" in " ".join(finding.notes)) == (verdict == "warning")


def test_the_trial_uses_the_rates_of_the_recipe(root):
    made = subject(root, ssd(), steps=2, make_optimizers=lambda *given: adam(*given, lr=0.0))
    assert check_overfit(made).notes[0].startswith("nothing in")
