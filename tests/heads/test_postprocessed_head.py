"""Whatever `postprocess` a head has, its own values are in it; and what heads were asked before is asked there."""

from functools import partial

import pytest
import torch
from contexts import context_of
from test_contract import HEADS as DENSE
from test_contract import _made

from detkit.heads import NMS, RPN, BoxHead, MergeBoxes, OverFeatHead, RetinaNetHead, SoftNMS, SVMBoxHead, TopK

HEADS = {
    **DENSE,
    "box": partial(BoxHead, 4, 2, 3),
    "svm box": partial(SVMBoxHead, 4, 2, 3),
    "rpn": partial(RPN, [6] * 2, [8, 16]),
}
EVERY = pytest.mark.parametrize("name", HEADS)
NUMBERS = {"score_threshold": 0.9, "nms_threshold": 0.4, "detections": 7}
NEW = {"score_threshold": "score_threshold", "nms_threshold": "iou_threshold", "detections": "detections"}


def _values(part):
    names = ("score_threshold", "iou_threshold", "detections", "candidates_of", "clip", "least_side", "at_threshold")
    return {name: getattr(part, name) for name in names}


class TestSetByHand:
    @EVERY
    @pytest.mark.parametrize("part", [NMS, SoftNMS, TopK, MergeBoxes])
    def test_has_the_values_of_the_head(self, name, part):
        by_hand, given = HEADS[name](), HEADS[name](postprocess=part())
        by_hand.postprocess = part()
        assert type(by_hand.postprocess) is part
        assert vars(by_hand.postprocess) == vars(given.postprocess)
        assert _values(by_hand.postprocess)["detections"] is not None

    @EVERY
    def test_keeps_what_it_says_itself(self, name):
        head, part = HEADS[name](), NMS(score_threshold=0.6, iou_threshold=0.1)
        head.postprocess = part
        assert _values(head.postprocess) == _values(HEADS[name]().postprocess) | {
            "score_threshold": 0.6,
            "iou_threshold": 0.1,
            "least_side": head.postprocess.least_side,
        }
        assert part.detections is None  # others may have it as well

    @EVERY
    def test_nothing_is_what_the_head_has_by_default(self, name):
        head = HEADS[name](postprocess=TopK())
        head.postprocess = None
        assert vars(head.postprocess) == vars(HEADS[name]().postprocess)

    def test_both_of_an_rpn(self):
        rpn = HEADS["rpn"]()
        rpn.postprocess, rpn.postprocess_for_training = NMS(iou_threshold=0.5), NMS(iou_threshold=0.6)
        assert (rpn.postprocess.candidates, rpn.postprocess_for_training.candidates) == (1000, 2000)
        context = context_of([(32, 48)])
        features = [torch.randn(1, 6, 4, 6), torch.randn(1, 6, 2, 3)]
        assert len(rpn.propose(rpn(features, context), context))

    def test_finds_as_many_as_before(self):
        head, features = _made("retinanet")
        context = context_of([(96, 128)] * 2)
        raw = head(features, context)
        before = head.decode(raw, context)
        head.postprocess = NMS()
        assert [len(detections) for detections in head.decode(raw, context)] == [
            len(detections) for detections in before
        ]


class TestOldAttributes:
    @EVERY
    @pytest.mark.parametrize("old", NUMBERS)
    def test_are_those_of_the_postprocess(self, name, old):
        old, path = ("proposals" if name == "rpn" and old == "detections" else old), f"postprocess.{NEW[old]}"
        head, value = HEADS[name](), NUMBERS.get(old, 7)
        with pytest.warns(DeprecationWarning, match=rf"^{type(head).__name__}\.{old} is \S+{path}( and|\b).* now$"):
            setattr(head, old, value)
        assert getattr(head.postprocess, NEW.get(old, "detections")) == value
        with pytest.warns(DeprecationWarning, match=path):
            assert getattr(head, old) == value

    @EVERY
    def test_candidates_hide_no_method(self, name):
        head = HEADS[name]()
        with pytest.warns(DeprecationWarning, match=r"\.candidates is \w+\.postprocess\.candidates now"):
            head.candidates = 9
        assert head.postprocess.candidates == 9
        assert not isinstance(getattr(head, "candidates", None), int) or "box" in name

    def test_of_overfeat(self):
        head = HEADS["overfeat"]()
        with pytest.warns(DeprecationWarning, match=r"postprocess\.match_threshold now"):
            head.match_threshold = 0.7
        assert head.postprocess.match_threshold == 0.7
        for word, kind, candidates in (("nms", NMS, None), ("merge", MergeBoxes, 300)):
            with pytest.warns(DeprecationWarning, match=r"^OverFeatHead\.resolve is OverFeatHead\.postprocess now"):
                head.resolve = word
            assert type(head.postprocess) is kind
            assert (head.postprocess.candidates, head.postprocess.detections) == (candidates, 100)
            with pytest.warns(DeprecationWarning, match="resolve"):
                assert head.resolve == word

    def test_stay_with_a_head_that_has_them_itself(self):
        class Mine(RetinaNetHead):
            score_threshold = 0.3

        class Further(Mine):
            own_values = RetinaNetHead.own_values

        assert Further([6], [8], 2, convolutions=1).score_threshold == 0.3


class TestOldArguments:
    def test_of_a_head_of_ones_own(self):
        class Mine(OverFeatHead):
            pass

        class Wrapping(OverFeatHead):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)

        for kind in (Mine, Wrapping):
            with pytest.warns(DeprecationWarning, match=rf"{kind.__name__}\(postprocess=NMS"):
                head = kind([4], [8], 2, class_hidden=(4,), box_hidden=(4,), resolve="nms", nms_threshold=0.3)
            assert type(head.postprocess) is NMS
            assert head.postprocess.iou_threshold == 0.3

    def test_a_head_of_ones_own_may_have_the_name_itself(self):
        class Mine(RetinaNetHead):
            def __init__(self, *arguments, score_threshold=0.2, postprocess=None):
                super().__init__(*arguments, postprocess=postprocess or NMS(score_threshold))

        assert Mine([6], [8], 2, score_threshold=0.7).postprocess.score_threshold == 0.7
