import pytest
import torch
from torch import nn

from detkit.learners import Learner, Phase, PlainLearner, TrainingBatch, freeze_module
from detkit.structures import Target


class Asked(nn.Module):
    def forward(self, images, targets):
        return {"all": torch.tensor(float(len(images) + len(targets)))}


def test_the_plain_one_asks_the_model():
    batch = TrainingBatch.of(([torch.zeros(3, 4, 4)] * 2, [Target.empty(1), Target.empty(2)]))
    assert PlainLearner().losses(Asked(), batch) == {"all": 4.0}
    assert not list(PlainLearner().parameters())


def test_a_batch_with_sources():
    images = [torch.zeros(3, 4, 4)]
    further = {"a": (images * 2, None), "b": (images, [Target.empty("x")])}
    batch = TrainingBatch.of((images, [Target.empty(7)], further), progress=0.5)
    assert batch.sources["a"].targets is None
    assert len(batch.sources["a"].images) == 2
    assert batch.sources["b"].progress == 0.5
    assert batch.image_ids == [7, "x"]


def test_ids_of_images_without_labels():
    images = [torch.zeros(3, 4, 4)] * 2
    batch = TrainingBatch.of((images[:1], [Target.empty(7)], {"a": (images, None, ["p.png", "q.png"])}))
    assert batch.sources["a"].targets is None
    assert batch.image_ids == [7, "p.png", "q.png"]


def test_what_is_frozen_stays_in_evaluation_mode():
    learner = Learner()
    learner.teacher = freeze_module(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    learner.projection = nn.Linear(2, 2)
    learner.activation = nn.Dropout()
    assert not any(parameter.requires_grad for parameter in learner.teacher.parameters())
    learner.eval().train()
    assert [learner.teacher.training, learner.teacher[1].training] == [False, False]
    assert learner.projection.training
    assert learner.activation.training


def test_there_is_one_phase_unless_told():
    model, learner = nn.Linear(1, 1), PlainLearner()
    assert learner.phases(model) == [Phase("", learner.losses, (model, learner))]


def test_a_learner_without_losses():
    with pytest.raises(NotImplementedError):
        Learner().losses(nn.Identity(), TrainingBatch([], None))
