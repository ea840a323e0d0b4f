"""Checks for classes of your own: each holds one of them to the whole contract of its kind, in your own test suite.

    def test_my_backbone():
        check_backbone(MyBackbone())

A check returns nothing, or raises a `ContractError` whose message says which rule is broken and what to do.
`imitated_device` runs any code as on a GPU, where there is none: it refuses wrong devices and counts waits.
"""

from detkit.testing.backbone import check_backbone
from detkit.testing.contract import ContractError
from detkit.testing.dataset import check_dataset
from detkit.testing.evaluator import check_evaluator
from detkit.testing.head import check_head
from detkit.testing.imitation import imitated_device
from detkit.testing.task import check_task

__all__ = [
    "ContractError",
    "check_backbone",
    "check_dataset",
    "check_evaluator",
    "check_head",
    "check_task",
    "imitated_device",
]
