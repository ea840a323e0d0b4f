"""Records the help of ``detkit train`` anew, or tells with --check whether the record is that of the code.

See detkit/engine/recorded_help/.
"""

import argparse
import os
import re
import sys

from detkit.engine.recorded_help import FILE, PACKAGES, versions_now


def current_help() -> str:
    """What the parser says; it lists the classes that have been imported, so nothing else may be before."""
    os.environ["COLUMNS"] = "120"
    from detkit.engine.commands.train import train_parser

    return train_parser().format_help()


def difference(recorded: str, current: str, same_versions: bool) -> list[str]:
    """The words of one help that are not in the other; none where the record may stay.

    Optimizers are left out, of which each release of torch has others. Between `same_versions` of `PACKAGES` the order
    counts too; otherwise only detkit's own options and classes are compared.
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
    """Why the record must be made anew; None where it may stay."""
    versions, _, recorded = FILE.read_text(encoding="utf-8").partition("\n\n")
    different = difference(recorded, current_help(), versions == versions_now())
    if different:
        return f"{FILE} is not what the code says; run tools/record_help.py. It differs in: {' '.join(different[:20])}"
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the record is not up to date")
    if parser.parse_args().check:
        sys.exit(check())
    FILE.write_text(f"{versions_now()}\n\n{current_help()}", encoding="utf-8")
    print(f"{FILE}: recorded with {versions_now()}; {' and '.join(PACKAGES)} of other versions show their own help")
