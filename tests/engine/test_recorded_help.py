"""The recorded help of ``detkit train`` and ``eval``: when it is shown, and how `make lint` finds it out of date."""

import pytest
from record_help import difference

from detkit.engine import recorded_help
from detkit.engine.recorded_help import PARSERS, versions_now

HELP = """
  --lr LR               factor (default: 0.1)
  --optimizer OPTIMIZER known subclasses: torch.optim.SGD, torch.optim.Adam, detkit.engine.optim.LARS
  --trainer.devices N   how many (type: int, default: 1)
"""


class TestDifference:
    """`make lint` compares the record with the parser by it."""

    def test_other_lines_and_optimizers_of_torch_are_no_difference(self):
        current = HELP.replace("torch.optim.Adam,", "torch.optim.Adam,\n torch.optim.New,")
        assert difference(HELP, current, same_versions=True) == []

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [("--lr LR", "--rate LR", ["--lr", "--rate"]), ("optim.LARS", "optim.LAMB", ["LAMB", "LARS"])],
    )
    @pytest.mark.parametrize("same_versions", [True, False])
    def test_an_option_or_class_of_detkit_is_one_in_all_versions(self, old, new, words, same_versions):
        found = difference(HELP, HELP.replace(old, new), same_versions)
        assert [word.removeprefix("detkit.engine.optim.") for word in found] == words

    @pytest.mark.parametrize(("old", "new"), [("0.1", "0.2"), ("--trainer.devices", "--trainer.nodes")])
    def test_defaults_and_options_of_lightning_are_one_in_the_same_versions(self, old, new):
        assert len(difference(HELP, HELP.replace(old, new), same_versions=True)) == 2
        assert difference(HELP, HELP.replace(old, new), same_versions=False) == []

    def test_so_is_the_order(self):
        assert difference("--a --b", "--b --a", same_versions=True) == ["the order of words"]


@pytest.mark.parametrize(
    "argv", [["train", "--help"], ["train", "-h"], ["train", "ssd_shapes", "--help"], ["eval", "--help"]]
)
def test_it_is_shown_where_versions_agree(argv, monkeypatch, tmp_path):
    command, *asked = argv
    file = tmp_path / f"{command}.txt"
    file.write_text(f"{versions_now()}\n\nusage: detkit\n")
    monkeypatch.setattr(recorded_help, "FOLDER", tmp_path)
    assert recorded_help.recorded_help(command, asked) == "usage: detkit\n"
    file.write_text("lightning 0.1, jsonargparse 4.0\n\nusage: of then\n")
    assert recorded_help.recorded_help(command, asked) is None


@pytest.mark.parametrize("argv", [[], ["--model.help", "FCOS"], ["--name", "a", "--help"], ["ssd_shapes"]])
@pytest.mark.parametrize("command", PARSERS)
def test_it_is_not_shown_for_anything_else(command, argv):
    assert recorded_help.recorded_help(command, argv) is None
