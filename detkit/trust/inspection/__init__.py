"""What is in a data set, and what is wrong with it: the checks of `detkit inspect`."""

from detkit.data.faults.problem import Problem
from detkit.trust.inspection.inspection import Inspection, inspect_data
from detkit.trust.inspection.tables import Table

__all__ = ["Inspection", "Problem", "Table", "inspect_data"]
