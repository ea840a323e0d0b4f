"""Write docs/backbones.md and its plot: ``python tools/backbones.py``."""

import argparse
from pathlib import Path

from detkit.backbones.catalog import catalog, write_page

if __name__ == "__main__":
    argparse.ArgumentParser(description="Write docs/backbones.md and its plot, docs/images/backbones.png.").parse_args()
    write_page(catalog(), Path(__file__).parent.parent / "docs" / "backbones.md")
