"""`IgnoredSteps` counts on the device and looks at its count rarely."""

from __future__ import annotations

import torch
from operation_counter import OperationCounter

from detkit.heads.region.mesh.ignored_steps import REPORT_EVERY, IgnoredSteps


def test_each_report_is_of_the_steps_since_the_last_one(caplog):
    steps = IgnoredSteps("taught nothing")
    ignored = torch.zeros(4 * REPORT_EVERY, dtype=torch.bool)
    ignored[[0, 7, REPORT_EVERY - 1, REPORT_EVERY, 4 * REPORT_EVERY - 1]] = True
    with OperationCounter() as counter:
        for one in ignored:
            steps.count(one)
    assert caplog.messages == [f"{count} of the last {REPORT_EVERY} steps taught nothing" for count in (3, 1, 1)]
    assert counter.waits == 4
