"""Records the help of ``detkit train`` and ``detkit eval`` anew; see detkit/engine/recorded_help/."""

import os
import subprocess
import sys

from detkit.engine.recorded_help import PARSERS, help_file, versions_now

if __name__ == "__main__":
    for command, (module, function) in PARSERS.items():
        # In a process of its own, since a parser lists all classes that have been imported.
        code = f"from {module} import {function}; print({function}().format_help(), end='')"
        environment = {**os.environ, "COLUMNS": "120"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        help_file(command).write_text(f"{versions_now()}\n\n{done.stdout}", encoding="utf-8")
