"""The categories of a COCO file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detkit.coco_files.entry_lists import EntryList, is_plain_text
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.structures.categories import Category, from_coco


def read_listed_categories(entries: Sequence[dict[str, Any]], source: str) -> list[Category]:
    """Read and check the list `categories` of a COCO file, sorted by id. A category without a name is called by its id.

    Raises:
        InputError: it is empty, or an id or a name is wrong.
    """
    if not entries:
        raise InputError(f"{source}: the list 'categories' is empty, so there is nothing to detect")
    listed = EntryList(entries, "category", source)
    ids = listed.ids("id")
    for row, own in enumerate(ids):
        if not isinstance(own, int) or not _is_name(entries[row].get("name")):
            raise InputError(
                f"{source}: categories[{row}] needs an integer 'id' and a 'name', but has {shown(entries[row])}"
            )
    listed.check_unique(ids)
    listed.flags("isthing")
    named = sorted(zip(ids, entries, strict=True), key=lambda pair: pair[0])
    return [
        from_coco({**entry, "id": own, "name": str(own if entry.get("name") is None else entry["name"])}, source)
        for own, entry in named
    ]


def _is_name(name: Any) -> bool:
    """Whether a category may be called so: digits are often written as numbers."""
    return is_plain_text(name) if isinstance(name, str) else name is None or type(name) is int
