"""The recorded help of ``detkit train``: when it is shown, and how `make lint` finds that it is out of date."""

import pytest
from record_help import difference

from detkit.engine import recorded_help
from detkit.engine.recorded_help import versions_now

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


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["ssd_shapes", "--help"]])
def test_it_is_shown_where_versions_agree(argv, monkeypatch, tmp_path):
    (tmp_path / "train.txt").write_text(f"{versions_now()}\n\nusage: detkit train\n")
    monkeypatch.setattr(recorded_help, "FILE", tmp_path / "train.txt")
    assert recorded_help.recorded_help(argv) == "usage: detkit train\n"
    (tmp_path / "train.txt").write_text("lightning 0.1, jsonargparse 4.0\n\nusage: of then\n")
    assert recorded_help.recorded_help(argv) is None


@pytest.mark.parametrize("argv", [[], ["--model.help", "FCOS"], ["--name", "a", "--help"], ["ssd_shapes"]])
def test_it_is_not_shown_for_anything_else(argv):
    assert recorded_help.recorded_help(argv) is None
