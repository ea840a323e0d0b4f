"""Moving the tensors of a batch together; without a GPU, to the device without memory instead."""

import pytest
import torch

from detkit.structures.device_transfer import images_on, joined_on, stacked_on


def _bytes(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0], [1], [0, 0, 1]])
def test_parts_of_one_tensor_are_stacked(order, seed):
    whole = _bytes(3, 3, 4, 5, seed=seed)
    assert torch.equal(stacked_on([whole[index] for index in order], "cpu"), whole[order])


def test_consecutive_parts_share_their_memory():
    whole = _bytes(4, 3, 4, 5)
    stacked = stacked_on(list(whole[1:]), "cpu")
    assert stacked.data_ptr() == whole[1].data_ptr()
    assert torch.equal(stacked, whole[1:])


@pytest.mark.parametrize("part", [lambda one: one.transpose(1, 2), lambda one: one[:, ::2], lambda one: one.float()])
def test_other_parts_do_not(part):
    parts = [part(one) for one in _bytes(2, 3, 4, 4)]
    assert torch.equal(stacked_on(parts, "cpu"), torch.stack(parts))


def test_rows_are_joined():
    values = [torch.rand(2, 4), torch.rand(0, 4), torch.rand(3, 4)]
    assert torch.equal(joined_on(values, "cpu"), torch.cat(values))
    assert torch.equal(joined_on(values[:1], "cpu"), values[0])


def test_images_keep_their_order_on_another_device():
    images = [_bytes(3, 4, 5), _bytes(3, 2, 2), _bytes(3, 4, 5), torch.rand(3, 4, 5)]
    moved = images_on(images, "meta")
    assert [(image.shape, image.dtype) for image in moved] == [(image.shape, image.dtype) for image in images]
    assert all(image.device.type == "meta" for image in moved)
    assert all(one is image for one, image in zip(images_on(images, "cpu"), images, strict=True))
