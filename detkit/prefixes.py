"""Prefix rules for dotted names: `decoder` applies to `decoder` and `decoder.3.box`, not to `decoder_x`."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def prefixes(name: str) -> list[str]:
    """The prefixes of `name` by whole components, longest first; the first is `name` itself."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def longest_prefix(name: str, rules: Collection[str]) -> str | None:
    """The longest of `rules` that applies to `name`, or None."""
    return next((prefix for prefix in prefixes(name) if prefix in rules), None)


def unmatched(rules: Iterable[str], names: Iterable[str]) -> list[str]:
    """The `rules` that apply to none of `names`, sorted."""
    known = {prefix for name in names for prefix in prefixes(name)}
    return sorted(set(rules) - known)
