"""The image pooling of ASPP, whose batch norm needs several images."""

import pytest
import torch
from torch import nn

from detkit.errors import InputError
from detkit.heads.pixel.deeplab.aspp import ASPP


def test_one_image_alone_is_refused_in_training():
    with pytest.raises(InputError, match="at least 2 of them per process"):
        ASPP(4, 16, width=2)(torch.rand(1, 4, 3, 3))


def test_one_image_is_enough_where_batch_norm_is_frozen_or_synchronized():
    frozen = ASPP(4, 16, width=2)
    for layer in frozen.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert frozen(torch.rand(1, 4, 3, 3)).shape == (1, 2, 3, 3)
    assert ASPP(4, 16, width=2).eval()(torch.rand(1, 4, 3, 3)).shape == (1, 2, 3, 3)
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(ASPP(4, 16, width=2))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):  # torch, of one process
        synchronized(torch.rand(1, 4, 3, 3))
