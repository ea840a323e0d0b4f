"""Names of evaluation of the release before."""

import pytest

from detkit.deprecation import OldName
from detkit.evaluation import CocoEvaluation, CocoEvaluator


@pytest.fixture
def evaluator(make_problem):
    problem = make_problem(seed=0)
    evaluator = CocoEvaluator(problem.annotations)
    evaluator.compute()
    return evaluator


def test_found_of_an_evaluation_is_its_detections(evaluator):
    with pytest.warns(OldName, match="CocoEvaluation.detections"):
        assert evaluator.evaluation.found is evaluator.evaluation.detections


def test_found_of_an_evaluator_gives_its_detections(evaluator):
    with pytest.warns(OldName, match="CocoEvaluator.detections"):
        assert len(evaluator.found()) == len(evaluator.detections())


def test_an_evaluation_is_built_with_the_old_argument(evaluator):
    values = dict(vars(evaluator.evaluation))
    values["found"] = values.pop("detections")
    with pytest.warns(OldName, match="found"):
        assert CocoEvaluation(**values).metrics == evaluator.evaluation.metrics
