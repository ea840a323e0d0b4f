"""A part of the images is held out by the names of their files."""

import pytest

from detkit.data.packed.held_out import HeldOut
from detkit.errors import InputError


def names(count: int) -> list[str]:
    return [f"photo_{number}.jpg" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "fraction", "held_out"), [(100, 0.2, 20), (10, 0.25, 2), (2, 0.01, 1), (2, 0.99, 1), (3, 0.9, 2)]
)
def test_the_parts_have_the_sizes_of_the_fraction_and_never_none(count: int, fraction: float, held_out: int):
    first, second = (HeldOut(fraction, part).indices(names(count), "x") for part in (True, False))
    assert len(first) == held_out
    assert sorted([*first, *second]) == list(range(count))


def test_the_parts_depend_on_the_files_names_alone():
    own = names(50)
    held_out = {own[index] for index in HeldOut(0.3, True).indices(own, "x")}
    moved = [f"other/folder/{name[:-4]}.png" for name in reversed(own)]
    again = {moved[index].split("/")[-1][:-4] + ".jpg" for index in HeldOut(0.3, True).indices(moved, "x")}
    assert held_out == again
    assert held_out != set(own[:15])


def test_one_image_cannot_be_divided():
    with pytest.raises(InputError, match=r"a\.json: 1 images cannot be divided by data\.val_fraction"):
        HeldOut(0.2, True).indices(["a.jpg"], "a.json")
