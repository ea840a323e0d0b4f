"""What the doctor says of maps that a perfect network cannot reach: why, and what helps."""

from types import SimpleNamespace

import pytest

from detkit.evaluation import PanopticEvaluator, SemanticEvaluator
from detkit.trust.doctor.round_trip.ceiling import Stage
from detkit.trust.doctor.round_trip.trip_findings import _notes_on_shapes


def notes(evaluators, reached):
    stages = [Stage("evaluation", 0, dict.fromkeys(evaluators, 1.0)), Stage("decoding", 3, reached)]
    return _notes_on_shapes([*stages, Stage("results file", 0, reached)], evaluators)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (SemanticEvaluator, "class logits that are coarser"),
        (PanopticEvaluator, "class logits and masks that are coarser"),
    ],
)
def test_the_resolution_is_named(kind, words):
    name, evaluator = kind.name, SimpleNamespace(reads=kind.reads)
    (said,) = notes({name: evaluator}, {name: 0.795})
    assert said.startswith(f"{name}: {words} than the image lower the ceiling from 1.000 to 0.795; give the network")
    assert not notes({name: evaluator}, {name: 0.995})


def test_of_classes_nothing_is_said():
    assert not notes({"top1": SimpleNamespace(reads="labels")}, {"top1": 0.5})
