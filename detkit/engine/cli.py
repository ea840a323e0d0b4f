"""The command line: ``detkit train``, ``eval``, ``predict`` and others, each of which is imported when it is called."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches

import detkit
from detkit.deprecation import show_in
from detkit.engine.callbacks.signals import Interrupted
from detkit.engine.recorded_help import recorded_help
from detkit.engine.shorthand.recipe_arguments import check_has_recipe, with_recipe_files
from detkit.engine.shorthand.short_options import with_full_options
from detkit.errors import InputError

Command = Callable[[Sequence[str]], None]

# Set before torch is loaded, which reads it then: waiting threads sleep early. If they spin, they take the cores from
# the loader's workers, and a training step on two busy cores takes several times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``detkit``; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    first = argv[0] if argv else ""
    if first in COMMANDS:
        return run(COMMANDS[first][0], argv[1:])
    if first in ("-h", "--help", "help"):
        print(usage())
        return 0
    if first in ("--version", "-V", "version"):
        print(f"detkit {detkit.__version__}")
        return 0
    print(unknown_command(first) if first else usage(), file=sys.stderr)
    return 2


def usage() -> str:
    """The text of ``detkit --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(["usage: detkit COMMAND [--help] ...", "", *lines, "", HELP])


def unknown_command(word: str) -> str:
    """The sentence for a first argument that is no command."""
    close = get_close_matches(word, [*COMMANDS, *OTHER_WORDS], n=1, cutoff=0.5)
    hint = f"did you mean {OTHER_WORDS.get(close[0], close[0])}?" if close else f"there are: {', '.join(COMMANDS)}."
    return f"detkit: There is no command {word}; {hint} `detkit --help` describes them."


def train(argv: Sequence[str]) -> None:
    """``detkit train``."""
    _show_recorded_help("train", argv)
    argv = with_recipe_files(argv)
    check_has_recipe(argv)
    argv = with_full_options("train", argv)  # so that a wrong name is told before torch is imported
    from detkit.engine.commands.train import train_command

    train_command(argv)


def _show_recorded_help(command: str, argv: Sequence[str]) -> None:
    """End as a parser does that shows its help, where that is asked for and recorded."""
    if text := recorded_help(command, argv):
        print(text, end="")
        raise SystemExit(0)


def evaluate(argv: Sequence[str]) -> None:
    """``detkit eval``."""
    _show_recorded_help("eval", argv)
    from detkit.engine.commands.evaluate import evaluate_command

    evaluate_command(argv)


def predict(argv: Sequence[str]) -> None:
    """``detkit predict``."""
    from detkit.engine.commands.predict import predict_command

    predict_command(argv)


def compare(argv: Sequence[str]) -> None:
    """``detkit compare``."""
    from detkit.engine.commands.compare import compare_command

    compare_command(argv)


def report(argv: Sequence[str]) -> None:
    """``detkit report``."""
    from detkit.engine.commands.report import report_command

    report_command(argv)


def serve(argv: Sequence[str]) -> None:
    """``detkit serve``."""
    from detkit.engine.commands.serve import serve_command

    serve_command(argv)


def visualize(argv: Sequence[str]) -> None:
    """``detkit visualize``."""
    from detkit.engine.commands.visualize import visualize_command

    visualize_command(argv)


def recipes(argv: Sequence[str]) -> None:
    """``detkit recipes``."""
    from detkit.engine.commands.list_recipes import recipes_command

    recipes_command(argv)


def convert(argv: Sequence[str]) -> None:
    """``detkit convert``."""
    from detkit.engine.commands.convert import convert_command

    convert_command(argv)


def show_license(argv: Sequence[str]) -> None:
    """``detkit license``."""
    from detkit.engine.commands.license import license_command

    license_command(argv)


def export(argv: Sequence[str]) -> None:
    """``detkit export``."""
    from detkit.engine.commands.export import export_command

    export_command(argv)


def verify(argv: Sequence[str]) -> None:
    """``detkit verify``."""
    from detkit.engine.commands.verify import verify_command

    verify_command(argv)


def doctor(argv: Sequence[str]) -> None:
    """``detkit doctor``."""
    from detkit.engine.commands.doctor.doctor_command import doctor_command

    doctor_command(argv)


def inspect(argv: Sequence[str]) -> None:
    """``detkit inspect``."""
    from detkit.engine.commands.inspect import inspect_command

    inspect_command(argv)


def anchors(argv: Sequence[str]) -> None:
    """``detkit anchors``."""
    from detkit.engine.commands.anchors import anchors_command

    anchors_command(argv)


def fit_svms(argv: Sequence[str]) -> None:
    """``tools/fit_svms.py``."""
    from detkit.engine.commands.fit_svms import fit_svms_command

    fit_svms_command(argv)


def proposals(argv: Sequence[str]) -> None:
    """``tools/proposals.py``."""
    from detkit.engine.commands.propose import proposals_command

    proposals_command(argv)


COMMANDS: dict[str, tuple[Command, str]] = {
    "train": (train, "train a recipe on COCO, VOC, YOLO, LabelMe or CVAT data, label maps or folders of classes"),
    "eval": (evaluate, "evaluate a checkpoint or a file of detections: COCO, VOC or ILSVRC metrics, mean IoU"),
    "predict": (predict, "run a checkpoint on images, folders and videos"),
    "compare": (compare, "tell whether two checkpoints, or files of detections, differ on the same images"),
    "export": (export, "write a checkpoint as an ONNX, torch.export or TorchScript file, with its decoding"),
    "verify": (verify, "certify exported files: AP of both, largest differences, and the first node that differs"),
    "report": (report, "write a report of a run as one HTML page: metrics, errors, worst images, recipe, licenses"),
    "serve": (serve, "answer uploaded images with a checkpoint: an upload page, and JSON for programs"),
    "visualize": (visualize, "show Grad-CAM, occlusion sensitivity and filters of a network for an image"),
    "recipes": (recipes, "list the recipes, or show one: task, size, published results, weights"),
    "convert": (convert, "convert a data set between COCO, VOC, YOLO and LabelMe, or from CVAT"),
    "inspect": (
        inspect,
        "show what is in a data set and what is wrong with it: statistics, label problems, duplicates",
    ),
    "doctor": (
        doctor,
        "check a recipe on its data before training: what is lost, and the AP that it can reach at most",
    ),
    "license": (show_license, "show where the weights of a checkpoint come from, and their licenses"),
    "anchors": (anchors, "fit the anchors of a recipe to the boxes of a data set"),
}
"""The commands by name, in the order of ``detkit --help``, each with what it does."""

OTHER_WORDS = {
    "evaluate": "eval",
    "val": "eval",
    "test": "eval",
    "detect": "predict",
    "infer": "predict",
    "inference": "predict",
    "fit": "train",
    "finetune": "train",
    "check": "doctor",
    "diagnose": "doctor",
    "explain": "visualize",
    "deploy": "serve",
    "server": "serve",
    "diff": "compare",
    "models": "recipes",
    "list": "recipes",
    "zoo": "recipes",
}
"""What other programs call these commands."""

HELP = (
    "`detkit COMMAND --help` lists all arguments, with examples. `detkit --version` prints the version. "
    "DETKIT_DEBUG=1 shows the\ntraceback of an error."
)


def run(command: Command, argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments of the process, or with `argv`.

    Returns:
        The exit status: 0 for success, 2 for wrong input, which one sentence on stderr describes, and 128 plus the
        number of the signal if one stopped the run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with warnings.catch_warnings():
        show_in(logging.getLogger(__name__))
        return _run(command, argv)


def _run(command: Command, argv: Sequence[str] | None) -> int:
    try:
        command(list(sys.argv[1:] if argv is None else argv))
    except InputError as error:
        return _report(input_sentence(error), 2)
    except Interrupted as error:
        return _stopped(str(error), error.signum)
    except KeyboardInterrupt:
        return _stopped("stopped", signal.SIGINT)
    except RuntimeError as error:  # which the death of a loader's worker raises wherever the main process is
        from detkit.data.loading import dead_worker

        if sentence := dead_worker(error):
            return _report(str(sentence), 2)
        raise
    return 0


def _stopped(sentence: str, signum: int) -> int:
    """The status after a signal, which reaches all processes of a run: the first one speaks."""
    first_process = os.environ.get("LOCAL_RANK", "0") == "0"
    return _report(sentence, 128 + signum) if first_process else 128 + signum


def input_sentence(error: InputError) -> str:
    """The sentence of an error, also where a worker process of a data loader has wrapped it in its traceback."""
    text = str(error)
    if text.startswith("Caught InputError in"):
        return text.rpartition("InputError: ")[2].strip()
    return text


def _report(sentence: str, status: int) -> int:
    if os.environ.get("DETKIT_DEBUG"):
        traceback.print_exc()
    print(f"detkit: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
