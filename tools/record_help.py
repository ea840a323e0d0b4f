"""Records the help of ``detkit train`` and ``detkit eval`` anew, or tells with --check whether it is up to date.

See detkit/engine/recorded_help/.
"""

import argparse
import os
import re
import subprocess
import sys

from detkit.engine.recorded_help import PARSERS, help_file, versions_now


def current_help(command: str) -> str:
    """What the parser of `command` says, in a process of its own: it lists all classes that have been imported."""
    module, function = PARSERS[command]
    code = f"from {module} import {function}; print({function}().format_help(), end='')"
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout


def difference(recorded: str, current: str, same_versions: bool) -> list[str]:
    """The words of one help that are not in the other; none where the record may stay.

    Optimizers are left out, of which each release of torch has others. Between `same_versions` of Lightning and
    jsonargparse the order counts too; otherwise only detkit's own options and classes are compared.
    """
    one, other = (_words(text, same_versions) for text in (recorded, current))
    if same_versions and one == other:
        return []
    return sorted(set(one) ^ set(other)) or (["the order of words"] if same_versions else [])


def _words(text: str, same_versions: bool) -> list[str]:
    words = [word for word in text.split() if not word.startswith("torch.optim.")]
    return words if same_versions else [word.rstrip(",)") for word in words if _is_of_detkit(word)]


def _is_of_detkit(word: str) -> bool:
    return re.match(r"detkit\.|--(?!trainer)[a-z]", word) is not None and not word.endswith(".help")


def check() -> str | None:
    """Why a record must be made anew; None where all may stay."""
    for command in PARSERS:
        versions, _, recorded = help_file(command).read_text(encoding="utf-8").partition("\n\n")
        different = difference(recorded, current_help(command), versions == versions_now())
        if different:
            words = " ".join(different[:20])
            return f"{help_file(command)} is not what the code says; run tools/record_help.py. It differs in: {words}"
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a record is not up to date")
    if parser.parse_args().check:
        sys.exit(check())
    for command in PARSERS:
        help_file(command).write_text(f"{versions_now()}\n\n{current_help(command)}", encoding="utf-8")
