"""Write docs/backbones.md and its plot: ``python tools/backbones.py``."""

from pathlib import Path

from detkit.backbones.catalogue import catalogue, write_page

if __name__ == "__main__":
    write_page(catalogue(), Path(__file__).parent.parent / "docs" / "backbones.md")
