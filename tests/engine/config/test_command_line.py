"""What is read of a command line before it is parsed."""

import pytest

from detkit.engine.config.command_line import option_values, with_resumed_config
from detkit.errors import InputError


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (["--trust", "a", "--trust=b"], ["a", "b"]),
        (["--trusted", "a", "--no--trust=b", "trust"], []),
        (["--trust"], []),
        (["--trust=a=b"], ["a=b"]),
    ],
    ids=" ".join,
)
def test_values_of_an_option(argv, values):
    assert option_values(argv, "--trust") == values


def test_a_resumed_run_brings_its_config(tmp_path):
    (tmp_path / "config.yaml").touch()
    config = ["--config", str(tmp_path / "config.yaml")]
    assert with_resumed_config(["--resume", str(tmp_path)]) == [*config, "--resume", str(tmp_path)]
    (tmp_path / "last.ckpt").touch()
    resumed = f"--resume={tmp_path / 'last.ckpt'}"
    assert with_resumed_config([resumed, "--ema", "0.9"]) == [*config, resumed, "--ema", "0.9"]
    assert with_resumed_config([resumed, "--config=c.yaml"]) == [resumed, "--config=c.yaml"]


def test_a_run_that_is_not_there_is_not_resumed(tmp_path):
    with pytest.raises(InputError, match="There is no run to resume"):
        with_resumed_config(["--resume", str(tmp_path / "nothing")])
    with pytest.raises(InputError, match=r"config\.yaml does not exist"):
        with_resumed_config(["--resume", str(tmp_path)])
