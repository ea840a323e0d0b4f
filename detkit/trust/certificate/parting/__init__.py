"""Where a file and its checkpoint part: the first node whose value differs, and the constants that do."""

from detkit.trust.certificate.parting.find_parting import PartingFinder
from detkit.trust.certificate.parting.parted_node import Parting

__all__ = ["Parting", "PartingFinder"]
