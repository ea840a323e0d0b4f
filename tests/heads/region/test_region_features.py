"""Region feature extractors: shapes, weights from classification nets, truncated SVD."""

import numpy as np
import pytest
import torch
import torchvision

from detkit.backbones import TimmBackbone
from detkit.errors import InputError
from detkit.heads import AveragePool, ConvolutionsThenFullyConnected, RegionNetwork, TwoFullyConnected

TRUNKS = [
    lambda: TwoFullyConnected(3, 4, hidden=8),
    lambda: TwoFullyConnected(3, 4, hidden=8, layer_norm=True, dropout=0.5),
    lambda: ConvolutionsThenFullyConnected(3, 4, channels=6, convolutions=2, hidden=8),
    lambda: AveragePool(3, 4),
    lambda: RegionNetwork(3, 32, TimmBackbone("test_resnet")),
]


@pytest.mark.parametrize("make", TRUNKS)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_vector_for_each_region(make, count):
    torch.manual_seed(0)
    extractor = make().eval()
    crops = torch.rand(count, 3, *((32, 32) if isinstance(extractor, RegionNetwork) else (4, 4)))
    vectors = extractor(crops)
    assert vectors.shape == (count, extractor.out_channels)
    assert vectors.isfinite().all()


@pytest.mark.parametrize("make", TRUNKS[:3])
def test_no_regions_pass_in_training(make):
    extractor = make().train()
    extractor(torch.zeros(0, 3, 4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


def test_alexnets_own_layers_load_from_its_file(tmp_path):
    torch.manual_seed(0)
    net = torchvision.models.alexnet(num_classes=3).eval()
    torch.save(net.state_dict(), tmp_path / "alexnet.pth")
    extractor = TwoFullyConnected(256, 6, hidden=4096, dropout=0.5, weights=str(tmp_path / "alexnet.pth")).eval()
    crops = torch.rand(2, 256, 6, 6)
    torch.testing.assert_close(extractor(crops), net.classifier[:-1](crops.flatten(1)), rtol=0, atol=0)


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "small.pth"
    torch.save({"classifier.1.weight": torch.zeros(8, 12), "classifier.4.weight": torch.zeros(8, 8)}, path)
    with pytest.raises(InputError, match=r"small\.pth: classifier\.1\.weight has shape \(8, 12\)"):
        TwoFullyConnected(3, 4, hidden=8, weights=str(path))
    torch.save({"classifier.1.weight": torch.zeros(8, 48)}, path)
    with pytest.raises(InputError, match="no two fully connected"):
        TwoFullyConnected(3, 4, hidden=8, weights=str(path))


class TestCompress:
    def test_all_singular_values_change_nothing(self):
        torch.manual_seed(0)
        extractor, crops = TwoFullyConnected(3, 4, hidden=8), torch.rand(5, 3, 4, 4)
        expected = extractor(crops)
        extractor.compress(8, 8)
        torch.testing.assert_close(extractor(crops), expected)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_layers_are_the_best_of_their_rank(self, seed):
        torch.manual_seed(seed)
        extractor = TwoFullyConnected(3, 4, hidden=8)
        matrix = extractor.fc6.weight.detach().double().numpy()
        extractor.compress(3, 5)
        first, second = extractor.fc6
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        best = (left[:, :3] * values[:3]) @ right[:3]
        np.testing.assert_allclose((second.weight @ first.weight).detach(), best, atol=1e-6)
        assert [layer.out_features for layer in (*extractor.fc6, *extractor.fc7)] == [3, 8, 5, 8]

    def test_refuses_ranks_there_are_not_and_a_second_time(self):
        extractor = TwoFullyConnected(3, 4, hidden=8)
        with pytest.raises(InputError, match=r"rank6 must lie in 1\.\.8, got 9"):
            extractor.compress(9, 1)
        extractor.compress(2, 2)
        with pytest.raises(InputError, match="already"):
            extractor.compress(2, 2)
