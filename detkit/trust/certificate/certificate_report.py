"""A certificate as lines for the terminal and as the content of a JSON file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from rich.table import Table

import detkit
from detkit.evaluation.tables.shown_numbers import decimals_of, shown, signed
from detkit.trust.certificate.certificate import CALLED, Certificate
from detkit.trust.certificate.parting.parted_node import Parting
from detkit.trust.comparison import Comparison
from detkit.trust.comparison.comparison_report import comparison_entry


def numbers_table(certificates: list[Certificate]) -> Table:
    """The headline of each evaluator of each file and of the checkpoint, and the interval of their difference."""
    table = Table(title="checkpoint − file", title_justify="left")
    for column in ("file", "precision", "", *CALLED, "difference", "from", "to"):
        table.add_column(column, justify="left" if column in ("file", "precision", "") else "right")
    for one in certificates:
        for comparison in one.comparisons.values():
            table.add_row(one.file.path.name, one.file.precision, *_row(comparison))
    return table


def difference_table(certificate: Certificate) -> Table:
    """The largest difference of each output, and where it is."""
    table = Table(title=f"{certificate.file.path.name}: largest differences", title_justify="left")
    for column in ("output", "difference", "rounding", "image", "where"):
        table.add_column(column, justify="right" if column in ("difference", "rounding") else "left")
    for one in certificate.differences.largest:
        if one.size == 0:
            table.add_row(one.output, "none")
            continue
        limit = "" if math.isinf(one.limit) else f"{one.limit:.3g}"
        table.add_row(one.output, f"{one.size:.3g} {one.unit}".strip(), limit, str(one.image), one.where)
    return table


def lines(certificate: Certificate) -> list[str]:
    """What is said of a file after the tables, the verdict last."""
    counts = ", ".join(f"{number:,} {name}" for name, number in certificate.differences.counts.items())
    said = [f"compared: {counts}"] if counts else []
    for one in certificate.findings:
        mark, to_do = ("✗" if one.is_fault else "·"), (f" ({one.help})" if one.help else "")
        said.append(f"{mark} {one.subject}: {one.sentence}{to_do}")
    ties = certificate.ties
    if ties is not None and ties.images:
        decided = f"{ties.mismatches + ties.borderline:,} in {ties.images:,} images"
        said.append(f"· ties: rounding decides of predictions, {decided} differ: values are equal where a choice ends")
    # In lower precision detections come and go, so that numbers and the graph decide.
    mark = "✗" if certificate.file.precision == "float32" else "·"
    said += [f"{mark} answers: {cause}" for cause in certificate.causes]
    said += parting_lines(certificate.parting)
    return [*said, f"{certificate.file.path}: {certificate.verdict}"]


def parting_lines(parting: Parting | None) -> list[str]:
    """Where the graphs part."""
    if parting is None:
        return []
    said = []
    if parting.node is not None:
        node = parting.node
        by = f"by {node.difference:.3g}, which is {node.relative:.2g} of its largest number"
        by = "in its shape" if math.isinf(node.relative) else by
        said.append(f"✗ first node that differs: {node}: {node.value} differs {by}")
        said += [f"  it reads {one}, which the checkpoint's graph does not have" for one in node.inputs]
    return said + ([f"· nodes: {parting.note}"] if parting.note else [])


def certificate_entry(certificate: Certificate) -> dict[str, Any]:
    """All that is known, as JSON values without a date."""
    file, differences, parting = certificate.file, certificate.differences, certificate.parting
    ties = certificate.ties
    return {
        "file": str(file.path),
        "sha256": sha256(file.path),
        "bytes": file.path.stat().st_size,
        "runtime": file.runtime,
        "precision": file.precision,
        "metadata": file.facts,
        "certified": certificate.is_certified,
        "verdict": certificate.verdict,
        "allowed": certificate.allowed,
        "findings": [
            {"subject": one.subject, "sentence": one.sentence, "help": one.help, "fault": one.is_fault}
            for one in certificate.findings
        ],
        "evaluators": {name: comparison_entry(one) for name, one in certificate.comparisons.items()},
        "answers": {
            "images": certificate.images,
            "too_large": certificate.skipped,
            "counts": differences.counts,
            "unpaired": differences.unpaired,
            "mismatches": differences.mismatches,
            "ties": {"images": ties.images, "predictions": ties.mismatches + ties.borderline} if ties else None,
            "causes": list(certificate.causes),
            "largest": {
                one.output: {
                    "difference": one.size,
                    "unit": one.unit,
                    "limit": None if math.isinf(one.limit) else one.limit,
                    "beyond_limit": one.beyond,
                    "image": one.image,
                    "where": one.where,
                }
                for one in differences.largest
            },
        },
        "parting": None if parting is None else _parting_entry(parting),
    }


def certificates_content(certificates: list[Certificate], checkpoint: Path, data: dict[str, Any]) -> dict[str, Any]:
    """The content of the JSON file of all certificates."""
    return {
        "detkit": detkit.__version__,
        "checkpoint": str(checkpoint),
        "sha256": sha256(checkpoint),
        "bytes": checkpoint.stat().st_size,
        "data": data,
        "files": [certificate_entry(one) for one in certificates],
    }


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parting_entry(parting: Parting) -> dict[str, Any]:
    node = parting.node
    return {
        "node": node
        and {
            "name": node.name,
            "operation": node.operation,
            "module": node.module,
            "value": node.value,
            "difference": node.difference,
            "relative": node.relative,
            "unknown_inputs": list(node.inputs),
        },
        "values_compared": parting.looked_at,
        "note": parting.note,
    }


def _row(comparison: Comparison) -> list[str]:
    head, scale = comparison.head, comparison.scale
    values = [shown(head.first, scale), shown(head.second, scale)]
    decimals = decimals_of(scale) + 1  # a file differs by less than two models do
    bounds = [signed(value, scale, decimals) for value in (head.difference, head.low, head.high)]
    return [comparison.headline, *values, *bounds]
