"""The sliding square, against squares drawn by hand."""

import pytest
import torch

from detkit.errors import InputError
from detkit.visualization import occlusion_sensitivity


def test_each_position_against_a_square_drawn_by_hand():
    image = torch.rand(3, 23, 31, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(3, 23, 31, generator=torch.Generator().manual_seed(1))
    batches = []

    def score(images):
        batches.append(len(images))
        return (images * weights).mean(dim=(1, 2, 3))

    occlusion = occlusion_sensitivity(score, image, side=7, step=4, batch_size=10)
    tops, lefts = [0, 4, 8, 12, 16], [0, 4, 8, 12, 16, 20, 24]
    assert occlusion.scores.shape == (5, 7)
    assert batches == [10, 10, 10, 5]
    total, covers = torch.zeros(23, 31), torch.zeros(23, 31)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            hidden = image.clone()
            hidden[:, top : top + 7, left : left + 7] = 0.5
            expected = (hidden * weights).mean()
            torch.testing.assert_close(occlusion.scores[row, column], expected)
            total[top : top + 7, left : left + 7] += expected
            covers[top : top + 7, left : left + 7] += 1
    torch.testing.assert_close(occlusion.pixels, total / covers)


def test_squares_reach_all_borders_and_bytes_are_images_too():
    image = torch.full((3, 10, 13), 255, dtype=torch.uint8)
    occlusion = occlusion_sensitivity(lambda images: images.mean(dim=(1, 2, 3)), image, side=4, step=4)
    assert occlusion.scores.shape == (3, 4)
    assert occlusion.pixels.isfinite().all()
    torch.testing.assert_close(occlusion.scores, torch.full((3, 4), 1 - 0.5 * 16 / 130))


@pytest.mark.parametrize(("side", "step"), [(0, 1), (11, 2), (4, 0), (4, 5)])
def test_wrong_squares(side, step):
    with pytest.raises(InputError, match=r"the side must be in 1\.\.10, the step in 1\.\.side"):
        occlusion_sensitivity(lambda images: images.sum(dim=(1, 2, 3)), torch.rand(3, 10, 13), side, step)
