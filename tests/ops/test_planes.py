"""`to_planes`, against plain torch."""

import pytest
import torch

from detkit.errors import InputError
from detkit.images import to_tensor
from detkit.ops.images.planes import to_planes, to_planes_reference

FLIPS = [(False, False), (True, False), (False, True), (True, True)]


def _image(height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("flips", FLIPS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "size", [(1, 1), (3, 15), (7, 16), (5, 17), (33, 47), (2, 48), (0, 4), (4, 0), (701, 1333)], ids=str
)
def test_the_planes_are_those_of_the_reference(size, seed, flips):
    image = _image(*size, seed)
    planes = to_planes(image, flips)
    assert planes.is_contiguous()
    assert torch.equal(planes, to_planes_reference(image, flips))


def test_a_part_of_an_image_is_taken_where_it_lies():
    image = _image(40, 50, seed=0)
    for part in (image[3:20, 5:44], image[::2], image.flip(2)):
        assert torch.equal(to_planes(part, (True, False)), to_planes_reference(part, (True, False)))


@pytest.mark.filterwarnings("error")  # torch warns of memory that may not be written to
def test_arrays_that_torch_refuses_are_copied():
    pixels = _image(20, 30, seed=1)
    image = pixels.numpy()
    read_only = image.copy()
    read_only.setflags(write=False)
    for given in (image[:, ::-1], image[::-1], image[..., ::-1], read_only):
        assert torch.equal(to_tensor(given), torch.from_numpy(given.copy()).permute(2, 0, 1))


@pytest.mark.parametrize(
    "wrong", [torch.zeros(4, 4), torch.zeros(4, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, 3), None], ids=str
)
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(InputError, match="image must"):
        to_planes(wrong)
