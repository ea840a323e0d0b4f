"""The checks of annotations and classes, for which no network runs."""

from __future__ import annotations

from detkit.data.faults.swapped_classes import swapped_classes
from detkit.data.image_dataset import check_same_categories
from detkit.data.layouts.contents import warnings_about_data
from detkit.errors import InputError
from detkit.trust.doctor.findings import Finding
from detkit.trust.doctor.subject import Subject

FEW_IMAGES = 20


def check_annotations(subject: Subject) -> Finding:
    """Boxes and labels look like what they are read as."""
    datasets = {id(one): one for one in (subject.data.train_dataset, subject.data.eval_dataset)}.values()
    notes = [sentence for dataset in datasets for sentence in subject.task.doctor(dataset)]
    notes += [sentence for sentence in warnings_about_data(subject.data) if sentence not in notes]
    if notes:
        return Finding("annotations", "warning", "the annotations look wrong", notes)
    few = len(subject.data.train_dataset)
    if few < FEW_IMAGES:
        note = (
            "a model learns so few by heart, and finds little in others: annotate more, or begin with the weights of a "
            "trained model (--start_from)"
        )
        said = f"the training data has {few} image{'' if few == 1 else 's'}"
        return Finding("annotations", "warning", said, [note])
    return Finding(
        "annotations", "passed", f"nothing looks wrong in {' and '.join(str(len(one)) for one in datasets)} images"
    )


def check_classes(subject: Subject) -> Finding:
    """Training data, evaluated data and checkpoint have the same classes in the same order."""
    names = [category.name for category in subject.data.train_dataset.categories]
    try:
        check_same_categories(subject.data.train_dataset, subject.data.eval_dataset)
    except InputError as error:
        return Finding("classes", "failed", str(error))
    if swapped := swapped_classes(subject.data.train_dataset, subject.data.eval_dataset):
        return Finding("classes", "warning", "classes look swapped in one of the two splits", swapped)
    if subject.checkpoint is None:
        return Finding("classes", "passed", f"both splits have the {len(names)} classes {_listed(names)}")
    path, categories = subject.checkpoint
    known = [category.name for category in categories]
    if known == names:
        return Finding("classes", "passed", f"{path} and the data have the {len(names)} classes {_listed(names)}")
    missing = [name for name in names if name not in known]
    unknown = [name for name in known if name not in names]
    if not missing and not unknown:
        label = next(row for row, (own, other) in enumerate(zip(known, names, strict=True)) if own != other)
        return Finding(
            "classes", "failed",
            f"{path} has the classes of the data in another order: its label {label} is {known[label]!r}, in the data "
            f"{names[label]!r}",
            ["detkit eval and --start_from join classes by name; other programs, and --resume, need the order "
             f"{_listed(known)}: sort the ids of the categories so"],
        )  # fmt: skip
    parts = [f"{_listed(missing)} of the data" for _ in missing[:1]] + [
        f"{_listed(unknown)} of the checkpoint" for _ in unknown[:1]
    ]
    return Finding(
        "classes", "failed", f"{path} and the data differ in classes: {' and '.join(parts)} are missing in the other",
        ["correct the names, or start a training for these classes with --start_from"],
    )  # fmt: skip


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")


def unreadable(subject: Subject, error: InputError) -> Finding:
    """The finding where the data cannot be read as it is, from the part that can."""
    notes = check_annotations(subject).notes
    return Finding("annotations", "failed", str(error), [*notes, "the other checks leave such boxes and images out"])
