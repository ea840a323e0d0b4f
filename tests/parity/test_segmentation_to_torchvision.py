"""A network for segmentation that leaves for torchvision: the same bits come back, and the same logits."""

from functools import partial

import pytest
import torch
from test_torchvision_pixel import CLASSES, NAMES, make_images, make_theirs, normalized, vary_
from torchvision.transforms import v2

from detkit.backbones import TorchvisionBackbone, UNetEncoder
from detkit.errors import InputError
from detkit.heads import DeepLabV3Head, FCNHead
from detkit.models import FCN, LRASPP, DeepLabV3, UNet
from detkit.weights import from_torchvision, to_torchvision
from detkit.weights.torchvision_pixel import BUILDERS

QUICK = {("lraspp_mobilenet_v3_large", True), ("deeplabv3_mobilenet_v3_large", False)}
CASES = [
    pytest.param(name, auxiliary, marks=[] if (name, auxiliary) in QUICK else [pytest.mark.slow])
    for name in NAMES
    for auxiliary in (True, False)
]


def test_all_networks_are_compared():
    assert list(BUILDERS) == NAMES


@pytest.mark.parametrize(("name", "auxiliary"), CASES)
def test_the_same_bits_and_logits_come_back(name, auxiliary):
    torch.manual_seed(0)
    theirs = make_theirs(name, auxiliary=auxiliary).eval()
    vary_(theirs)
    exported = to_torchvision(from_torchvision(name, theirs.state_dict()))
    has_auxiliary = auxiliary and "lraspp" not in name
    assert exported.name == name
    assert exported.arguments == {"weights": None, "weights_backbone": None, "num_classes": CLASSES} | (
        {"aux_loss": True} if has_auxiliary else {}
    )
    assert exported.state_dict.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(exported.state_dict[key], tensor), key
    back = exported.build()
    batch = normalized(make_images(1, 1))
    with torch.inference_mode():
        for key, logits in theirs(batch).items():
            assert torch.equal(back(batch)[key], logits)


def test_a_network_of_other_settings_of_batch_norm_has_the_same_logits():
    """Trained with detkit from the start, with an epsilon and pixel statistics of its own."""
    torch.manual_seed(0)
    blocks = ["features.4", "features.16"]  # torchvision's, of which the first is not the last block of stride 8
    backbone = TorchvisionBackbone("mobilenet_v3_large", blocks=blocks, output_stride=16)
    ours = LRASPP(backbone, CLASSES).eval()
    vary_(ours)
    ours.categories = ["sky", *"abcdef"]
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.1
    ours.preprocess.mean += 0.1
    exported = to_torchvision(ours)
    assert (exported.batch_norm_epsilon, exported.categories) == (0.1, ["sky", *"abcdef"])
    (image,) = make_images(2, 1)
    normalize = v2.Normalize(exported.mean, exported.std)
    with torch.inference_mode():
        expected = exported.build()(normalize(image)[None])["out"]
        context = ours.context([image])
        logits = ours.head.full_logits(ours.heads(ours.features(context.batch), context), context)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


class TestRefusals:
    def test_of_other_blocks_of_one_size(self):
        with pytest.raises(
            InputError, match=r"returned_blocks is \['features\.6', .*, in torchvision \['features\.4', "
        ):
            to_torchvision(LRASPP("mobilenet_v3_large", CLASSES))

    def test_of_other_layers(self):
        with pytest.raises(InputError, match="no network with the layers of this UNet: only those of fcn_resnet50"):
            to_torchvision(UNet(UNetEncoder(width=1 / 64), CLASSES))
        net = FCN(TorchvisionBackbone("resnet18", stages=[4, 5]), CLASSES)
        with pytest.raises(InputError, match=r"of this FCN \(for fcn_resnet50 it has no backbone\.trunk\."):
            to_torchvision(net)

    @pytest.mark.slow
    def test_of_an_auxiliary_head_with_another_name(self):
        backbone = TorchvisionBackbone("resnet50", stages=[4, 5], output_stride=8)
        net = FCN(backbone, CLASSES, auxiliary={"middle": partial(FCNHead, level=-2)})
        with pytest.raises(InputError, match=r"for fcn_resnet50 it has no auxiliary\.c4\."):
            to_torchvision(net)

    @pytest.mark.slow
    def test_of_settings_without_an_argument(self):
        backbone = TorchvisionBackbone("resnet50", stages=[5], output_stride=8)
        net = DeepLabV3(backbone, CLASSES, partial(DeepLabV3Head, rates=(6, 12, 18)))
        with pytest.raises(InputError, match=r"deeplabv3_resnet50 has no argument .*: head\.aspp\."):
            to_torchvision(net)
