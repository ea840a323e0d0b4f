"""What ``detkit inspect`` does after its arguments are parsed: inspect, print, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import get_console
from rich.console import Console
from rich.progress import Progress
from rich.table import Table as PrintedTable

from detkit.data import DataModule
from detkit.data.faults.problem import LEVELS, Problem
from detkit.engine.commands.inspect.inspect_command import InspectOptions
from detkit.engine.commands.inspect.recipe_on_data import with_recipe
from detkit.engine.commands.report.run_facts import made
from detkit.engine.config.parser import ParsedCommand, command_parser, write_json
from detkit.evaluation.tables.printed_tables import print_table
from detkit.files import write_whole
from detkit.reporting import Page, Section, page_html
from detkit.trust.inspection import Inspection, Table, inspect_data
from detkit.trust.inspection.page_sections import inspection_sections

_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}
_MOST_ROWS = 25
_MOST_EXAMPLES = 3


def run_inspection(options: InspectOptions, of_data: Sequence[str]) -> Inspection:
    """Inspect the data, write the file of the options if they name one, and print what was found.

    Raises:
        InputError: there is no data, or an option is wrong.
    """
    console = get_console()
    inspection = _inspection(options, of_data, console)
    for table in inspection.tables:
        show_table(console, table)
    for problem in inspection.problems:
        show_problem(console, problem)
    show_end(console, inspection)
    if options.out:
        console.print(str(options.out), highlight=False, markup=False, soft_wrap=True)
    return inspection


def _inspection(options: InspectOptions, of_data: Sequence[str], console: Console) -> Inspection:
    root = [] if options.root is None else [f"--data.root={options.root}"]
    of_data = [*root, *of_data]
    inspection, sections = inspected(data_of(of_data), options.images, console), list[Section]()
    if options.recipe:
        with console.status(f"reading the data as {options.recipe}"):
            inspection, sections = with_recipe(inspection, options.recipe, of_data, options.previews)
    if options.out:
        write_inspection(options.out, inspection, sections)
    return inspection


def write_inspection(out: Path, inspection: Inspection, sections: Sequence[Section]) -> None:
    """Write a page, with further sections, or a JSON file, by the suffix."""
    if out.suffix.lower() == ".json":
        return write_json(out, inspection.entry())
    subtitle = f"{inspection.format}, {', '.join(f'{len(one)} images of {one.name}' for one in inspection.splits)}"
    every = [*inspection_sections(inspection), *sections]
    page = Page(f"Inspection of {inspection.source}", subtitle, every, made())
    write_whole(out, page_html(page).encode("utf-8", errors="backslashreplace"))


def data_of(of_data: Sequence[str]) -> DataModule:
    """The data of the arguments ``--data.KEY``."""
    parser = command_parser("inspect", "FOLDER [--data.KEY VALUE ...]", "")
    parser.add_class_arguments(DataModule, "data", skip={"seed", "eval_split"})
    data: DataModule = ParsedCommand.of(parser, of_data).build()["data"]
    return data


def inspected(data: DataModule, images: int | None, console: Console) -> Inspection:
    """The inspection of some data, with a bar while images are decoded."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("decoding images", total=None)
        return inspect_data(data.splits, images, lambda done, total: bar.update(task, completed=done, total=total))


def show_table(console: Console, table: Table) -> None:
    """Print a table, of a long one its beginning."""
    printed = PrintedTable(*map(str, table.columns), title=table.title, title_justify="left", title_style="bold")
    for column in printed.columns[1:]:
        column.justify = "right"
    for row in table.rows[:_MOST_ROWS]:
        printed.add_row(*map(str, row))
    print_table(console, printed)
    if len(table.rows) > _MOST_ROWS:
        console.print(f"… and {len(table.rows) - _MOST_ROWS} more rows, which --out lists", highlight=False)


def show_problem(console: Console, problem: Problem) -> None:
    """Print a problem: what is wrong, where, and what to do."""
    style = _STYLES[problem.level]
    console.print(f"[{style}]{problem.level:8}[/{style}] {problem.name}: ", end="", highlight=False)
    console.print(f"{problem.split}: {problem.sentence}", soft_wrap=True, highlight=False, markup=False)
    for line in [*problem.examples[:_MOST_EXAMPLES], *(["…"] if problem.count > _MOST_EXAMPLES else [])]:
        console.print(f"         {line}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"         - {problem.advice}", soft_wrap=True, highlight=False, markup=False)


def show_end(console: Console, inspection: Inspection) -> None:
    """Print how many images were looked at, and how many problems there are."""
    if inspection.coverage:
        console.print(inspection.coverage, soft_wrap=True, highlight=False, markup=False)
    counts = {level: len(inspection.of_level(level)) for level in LEVELS}
    found = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items() if count)
    worst = next((level for level in LEVELS if counts[level]), None)
    what = f"{inspection.source} ({inspection.format}, {inspection.images} images): {found or 'nothing is wrong'}"
    console.print(what, style=_STYLES[worst] if worst else "green", soft_wrap=True, highlight=False, markup=False)
