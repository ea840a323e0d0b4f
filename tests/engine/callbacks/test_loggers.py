"""The rows of ``metrics.csv``."""

import csv

from detkit.engine.callbacks.loggers import MetricsFile


def test_a_validation_that_is_repeated_after_a_kill_has_one_row(tmp_path):
    before = MetricsFile(tmp_path / "metrics.csv")
    before.log_metrics({"train/loss": 2.0}, 4)
    before.log_metrics({"val/AP": 0.25}, 4)  # the run is killed here; the checkpoint was made within this validation

    after = MetricsFile(tmp_path / "metrics.csv")
    after.resume(5)
    after.log_metrics({"val/AP": 0.5}, 4)
    after.log_metrics({"train/loss": 1.0}, 5)
    after.log_metrics({"train/loss": 1.0}, 6)

    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["train/loss"], row["val/AP"]) for row in rows] == [
        ("4", "2.0", ""),
        ("4", "", "0.5"),
        ("5", "1.0", ""),
        ("6", "1.0", ""),
    ]
