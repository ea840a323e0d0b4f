"""Regions that are not learned."""

from detkit.proposals.cache import CachedProposals
from detkit.proposals.proposals import Proposals
from detkit.proposals.selective_search import SelectiveSearch

__all__ = ["CachedProposals", "Proposals", "SelectiveSearch"]
