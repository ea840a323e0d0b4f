"""Regions that are not learned."""

from detkit.proposals.proposals import Proposals

__all__ = ["Proposals"]
