"""What is set after a model was built is refused where its config does not say so, whatever it is."""

import threading
from functools import partial

import pytest
import torch
from recorded_ssd import SSD_OF_TWO_CLASSES
from torch import nn

import detkit
from detkit.backbones import UNetEncoder
from detkit.boxes import DeltaCoder
from detkit.engine.checkpoint import build_model, save_model
from detkit.errors import InputError
from detkit.heads import (
    NMS,
    RPN,
    BoxHead,
    FCOSHead,
    MergeBoxes,
    OverFeatHead,
    RetinaNetHead,
    SoftNMS,
    SSDHead,
    SSDliteHead,
    SVMBoxHead,
    YOLOv1Head,
    YOLOv2Head,
    YOLOv3Head,
    YOLOv4Head,
)
from detkit.heads.region.region_sampler import RegionSampler
from detkit.matching import Matcher
from detkit.model_settings import check_describes
from detkit.models import UNet
from detkit.models.pixel.inference import SlidingWindow

MAPS = ([8] * 3, [8, 16, 32])
HEADS = {
    "RPN": partial(RPN, *MAPS),
    "BoxHead": partial(BoxHead, 4, 2, 3),
    "SVMBoxHead": partial(SVMBoxHead, 4, 2, 3),
    "FCOSHead": partial(FCOSHead, *MAPS, 3, convolutions=1),
    "RetinaNetHead": partial(RetinaNetHead, *MAPS, 3, convolutions=1),
    "SSDHead": partial(SSDHead, *MAPS, 3),
    "SSDliteHead": partial(SSDliteHead, *MAPS, 3),
    "YOLOv1Head": partial(YOLOv1Head, *MAPS, 3, side=2, hidden=4),
    "YOLOv2Head": partial(YOLOv2Head, [8], [32], 3),
    "YOLOv3Head": partial(YOLOv3Head, *MAPS, 3),
    "YOLOv4Head": partial(YOLOv4Head, *MAPS, 3),
    "OverFeatHead": partial(OverFeatHead, *MAPS, 3, window=1, class_hidden=(8,), box_hidden=(8,)),
}
EVERY = pytest.mark.parametrize("name", HEADS)


class TestSuppressionOfEveryHead:
    @EVERY
    def test_as_it_was_built_is_described(self, name):
        given = {"postprocess": SoftNMS(0.3)}
        check_describes(HEADS[name](), HEADS[name]())
        check_describes(HEADS[name](**given), HEADS[name](**given))

    @EVERY
    @pytest.mark.parametrize("number", ["score_threshold", "iou_threshold", "candidates", "detections"])
    def test_another_number_is_refused(self, name, number):
        head = HEADS[name]()
        setattr(head.postprocess, number, 0.77)
        with pytest.raises(InputError, match=rf"^head\.postprocess\.{number} is 0\.77, but the config builds"):
            check_describes(head, HEADS[name](), "head")

    @EVERY
    def test_another_class_is_refused(self, name):
        head = HEADS[name]()
        head.postprocess = SoftNMS()
        with pytest.raises(InputError, match=r"head\.postprocess is \S+SoftNMS, but the config builds \S+(NMS|Merge)"):
            check_describes(head, HEADS[name](), "head")

    def test_that_of_training_is_compared_too(self):
        rpn = HEADS["RPN"]()
        rpn.postprocess_for_training.candidates = 5
        with pytest.raises(InputError, match=r"postprocess_for_training\.candidates is 5, but the config builds 2000"):
            check_describes(rpn, HEADS["RPN"]())

    def test_merging_boxes(self):
        head = HEADS["OverFeatHead"]()
        head.postprocess = MergeBoxes(match_threshold=0.9)
        with pytest.raises(InputError, match=r"postprocess\.match_threshold is 0\.9, but the config builds 0\.5"):
            check_describes(head, HEADS["OverFeatHead"]())


class _Foreign(nn.Module):
    """A part that detkit does not know."""

    def __init__(self, make=NMS, lock=None):
        super().__init__()
        self.make, self.lock = make, lock
        self.sampler = RegionSampler(8)
        self.calls = 0


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "attribute", "value", "place"),
        [
            ("RPN", "matcher", Matcher(0.6, 0.2), "matcher.foreground_iou"),
            ("RPN", "coder", DeltaCoder((1.0, 1.0, 2.0, 2.0)), "coder.weights"),
            ("RetinaNetHead", "gamma", 1.5, "gamma"),
            ("YOLOv2Head", "anchors0", torch.ones(5, 2), "anchors0"),
        ],
    )
    def test_of_heads_are_compared(self, name, attribute, value, place):
        head = HEADS[name]()
        setattr(head, attribute, value)
        with pytest.raises(InputError, match=rf"^model\.{place} is "):
            check_describes(head, HEADS[name]())

    def test_of_detkit_are_compared_in_any_part(self):
        part = _Foreign()
        part.sampler = RegionSampler(9)
        with pytest.raises(InputError, match=r"^model\.sampler\.\w+ is 9, but the config builds 8"):
            check_describes(part, _Foreign())

    def test_what_another_part_counts_is_no_setting(self):
        part = _Foreign()
        part.calls = 3
        check_describes(part, _Foreign())

    @pytest.mark.parametrize("make", [partial(NMS, 0.3), SoftNMS, partial(SoftNMS), lambda: NMS()])
    def test_callables_are_compared(self, make):
        check_describes(_Foreign(make), _Foreign(make))
        with pytest.raises(InputError, match=r"^model\.make"):
            check_describes(_Foreign(make), _Foreign())

    def test_what_cannot_be_compared_is_named(self):
        with pytest.warns(UserWarning, match=r"model\.lock cannot be compared"):
            check_describes(_Foreign(lock=threading.Lock()), _Foreign(lock=threading.Lock()))


def test_a_checkpoint_does_not_lose_suppression(tmp_path):
    model = build_model(SSD_OF_TWO_CLASSES, [], "config")
    model.head.postprocess.score_threshold = 0.77
    with pytest.raises(InputError, match=r"SSD\.head\.postprocess\.score_threshold is 0\.77, but .* builds 0\.01"):
        save_model(model, SSD_OF_TWO_CLASSES, tmp_path / "model.ckpt")


def test_arguments_that_were_left_out_are_described_by_their_defaults(tmp_path):
    """A part that is no module keeps a record of its own arguments."""
    model = UNet(UNetEncoder(width=1 / 64, padded=True), 2, inference=SlidingWindow((16, 16)))
    model.save(tmp_path / "model.ckpt")
    assert detkit.load(tmp_path / "model.ckpt").inference.stride == (10, 10)
    model.inference = SlidingWindow((16, 16), stride=(9, 9))
    with pytest.raises(InputError, match=r"inference\.stride"):
        model.save(tmp_path / "model.ckpt")
