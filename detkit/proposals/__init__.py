"""Region proposals that are not learned, such as selective search."""

from detkit.proposals.cache import CachedProposals
from detkit.proposals.proposals import Proposals
from detkit.proposals.selective_search import SelectiveSearch

__all__ = ["CachedProposals", "Proposals", "SelectiveSearch"]
