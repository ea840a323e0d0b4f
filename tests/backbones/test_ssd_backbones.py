"""The backbones of SSD and SSDlite: torchvision's layers with other outputs."""

import pytest
import torch
import torchvision
from torch import nn

from detkit.backbones import DilatedVGG16, TappedMobileNet
from detkit.backbones.dilated_vgg16 import _converted
from detkit.errors import InputError


class TestDilatedVGG16:
    def test_maps_have_the_sizes_of_figure_2(self):
        with torch.device("meta"):
            net = DilatedVGG16()
            shapes = [tuple(x.shape) for x in net(torch.empty(2, 3, 300, 300))]
        assert shapes == [(2, 512, 38, 38), (2, 1024, 19, 19)]
        assert (net.channels, net.strides) == ([512, 1024], [8, 16])

    def test_convolutions_are_torchvisions(self, tmp_path):
        theirs = torchvision.models.vgg16(weights=None).features
        torch.save({f"features.{name}": x for name, x in theirs.state_dict().items()}, tmp_path / "vgg16.pth")
        loaded = DilatedVGG16(weights=str(tmp_path / "vgg16.pth")).eval()
        assert loaded.load_report.missing == ["fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"]
        images = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(images)[0], theirs[:23](images))

    def test_fully_connected_layers_are_thinned_out(self):
        # Every weight of fc6 says where it is: output channel, input channel, row and column.
        fc6 = torch.arange(4096 * 512 * 49).view(4096, -1)
        fc7 = torch.arange(4096.0)[:, None] * 4096 + torch.arange(4096.0)
        bias = torch.arange(4096.0)
        converted = _converted(
            {
                "classifier.0.weight": fc6,
                "classifier.0.bias": bias,
                "classifier.3.weight": fc7,
                "classifier.3.bias": bias,
            }
        )
        assert converted["fc6.weight"].shape == (1024, 512, 3, 3)
        assert converted["fc6.weight"][5, 7, 1, 2] == ((20 * 512 + 7) * 7 + 3) * 7 + 6
        assert converted["fc7.weight"].shape == (1024, 1024, 1, 1)
        assert converted["fc7.weight"][3, 9, 0, 0] == 12 * 4096 + 36
        assert converted["fc6.bias"][10] == converted["fc7.bias"][10] == 40

    def test_a_classifier_of_nan_is_left_out(self):
        nan = torch.full((4096,), torch.nan)
        assert _converted({"features.0.bias": nan[:64], "classifier.0.bias": nan, "classifier.3.bias": nan}).keys() == {
            "features.0.bias"
        }

    def test_blocks_are_frozen(self):
        with torch.device("meta"):
            frozen = DilatedVGG16(frozen_stages=2)
        names = {name for name, parameter in frozen.named_parameters() if not parameter.requires_grad}
        assert names == {f"features.{layer}.{kind}" for layer in (0, 2, 5, 7) for kind in ("weight", "bias")}

    def test_a_file_of_another_net_is_refused(self, tmp_path):
        torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(InputError, match="none of its 1 tensors fits"):
            DilatedVGG16(weights=str(tmp_path / "other.pth"))


class TestTappedMobileNet:
    @pytest.mark.parametrize(
        ("name", "channels"),
        [("mobilenet_v2", [576, 1280]), ("mobilenet_v3_small", [288, 576]), ("mobilenet_v3_large", [672, 960])],
    )
    def test_ends_as_torchvisions_and_begins_its_last_stage_with_the_tap(self, name, channels):
        torch.manual_seed(0)
        ours = TappedMobileNet(name).eval()
        theirs = torchvision.models.get_model(name, weights=None).features.eval()
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        for layer in theirs.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = next(x.eps for x in ours.modules() if isinstance(x, nn.BatchNorm2d))
        images = torch.randn(1, 3, 96, 64)
        with torch.inference_mode():
            fine, coarse = ours(images)
            torch.testing.assert_close(coarse, theirs(images))
        assert (fine.shape[1:], coarse.shape[1:]) == ((channels[0], 6, 4), (channels[1], 3, 2))
        assert (ours.channels, ours.strides) == (channels, [16, 32])

    def test_published_weights_load_by_torchvisions_names(self, shared):
        ours = TappedMobileNet("mobilenet_v2", weights=str(shared / "weights" / "mobilenet_v2_features_imagenet.pth"))
        assert not ours.load_report.mismatched
        assert all(name.startswith("classifier") for name in ours.load_report.missing)

    def test_stages_and_batch_norm_are_frozen(self):
        net = TappedMobileNet("mobilenet_v3_small", frozen_stages=2, frozen_batch_norm=True)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
        frozen = [not parameter.requires_grad for parameter in net.parameters()]
        assert frozen[0]
        assert not frozen[-1]
        assert frozen == sorted(frozen, reverse=True)

    def test_a_reduced_tail_is_half_as_wide(self):
        assert TappedMobileNet(reduced_tail=True).channels == [672, 480]
        with pytest.raises(InputError, match="no reduced tail"):
            TappedMobileNet("mobilenet_v2", reduced_tail=True)
