"""Whether two models differ: the paired bootstrap over images."""

from detkit.trust.comparison.compared import Comparison, check_samples, compare
from detkit.trust.comparison.difference import Difference

__all__ = ["Comparison", "Difference", "check_samples", "compare"]
