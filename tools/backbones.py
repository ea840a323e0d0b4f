"""Write docs/backbones.md and its plot: ``python tools/backbones.py``."""

from pathlib import Path

from detkit.backbones.catalog import catalog, write_page

if __name__ == "__main__":
    write_page(catalog(), Path(__file__).parent.parent / "docs" / "backbones.md")
