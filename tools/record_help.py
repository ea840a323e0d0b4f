"""Records the help of ``detkit train`` anew; see detkit/engine/recorded_help/."""

import os

from detkit.engine.recorded_help import FILE, versions_now

if __name__ == "__main__":
    os.environ["COLUMNS"] = "120"
    from detkit.engine.commands.train import train_parser

    FILE.write_text(f"{versions_now()}\n\n{train_parser().format_help()}", encoding="utf-8")
