"""The checks by the oracle round trip: of the evaluated images, and of augmented training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from torch import Tensor

from detkit.data.image_dataset import ImageDataset
from detkit.errors import InputError
from detkit.structures import Target
from detkit.trust.doctor.findings import Finding, worst
from detkit.trust.doctor.round_trip.ceiling import READING
from detkit.trust.doctor.round_trip.ideal_network import WithoutIdeal, heads_of, ideal_network
from detkit.trust.doctor.round_trip.image_trips import ImageTrip, as_in_training, round_trip
from detkit.trust.doctor.round_trip.trip_findings import trips_finding
from detkit.trust.doctor.round_trip.trip_images import TripImages
from detkit.trust.doctor.subject import Subject, truth_of

Sample = tuple[Tensor, Target]

HIGH_SCORE = 0.5  # a score threshold that real detections often do not reach
MANY_CUT = 0.3  # the share of objects that augmentation may cut without a warning


def check_round_trip(subject: Subject) -> Finding:
    """Ground truth of the evaluated split comes back as AP 1."""
    dataset = subject.data.eval_dataset
    indices = subject.some(dataset)
    truth = truth_of(dataset, indices)
    trips = _trips(subject, lambda index: subject.sample(dataset, index), indices)
    finding = trips_finding(subject, "round_trip", trips, subject.make_evaluators(truth))
    return _with_thresholds(subject, _with_unread(_with_network(subject, finding), dataset))


def check_augmentation(subject: Subject) -> Finding:
    """Objects of augmented training images are learned, and come back."""
    dataset = subject.data.train_dataset
    indices = subject.some(dataset)
    cut = total = 0

    def read(index: int) -> Sample:
        nonlocal cut, total
        image, target = subject.augmented[index, 0]
        if target.labels is not None:
            before = len(dataset.target(index).objects())
            total += before
            cut += 0 if subject.data.mixing else before - len(target.objects())
        proposals = subject.data.proposals
        return image, target if proposals is None else replace(target, proposals=proposals(image))

    with as_in_training(subject.model):
        trips = _trips(subject, read, indices)
    truth = TripImages(trips, dataset.categories).ground_truth()
    finding = trips_finding(subject, "augmentation", trips, subject.make_evaluators(truth))
    return _with_cut(finding, cut, total)


def _trips(subject: Subject, read: Callable[[int], Sample], indices: Sequence[int]) -> list[ImageTrip]:
    if not indices:
        raise InputError("there are no images: check the split of the data")
    trips: list[ImageTrip] = []
    size = max(1, min(subject.data.eval_batch_size, 4))
    with ideal_network(subject.model.eval()) if _has_ideal(subject) else nullcontext() as network:
        for start in range(0, len(indices), size):
            subject.progress(f"{start} of {len(indices)} images")
            images, targets = zip(*(read(index) for index in indices[start : start + size]), strict=True)
            trips += round_trip(network, subject.task, images, targets)
    return trips


def _has_ideal(subject: Subject) -> bool:
    try:
        heads_of(subject.model)
    except WithoutIdeal:
        return False
    return True


def _with_network(subject: Subject, finding: Finding) -> Finding:
    """Add that the network could not be replaced, where it could not."""
    try:
        heads_of(subject.model)
    except WithoutIdeal as error:
        note = f"only the evaluator and the results file are checked, encoding and decoding are not: {error}"
        return replace(finding, notes=[note, *finding.notes])
    return finding


def _with_thresholds(subject: Subject, finding: Finding) -> Finding:
    """Add score thresholds that a perfect network passes, but few detections of a real one."""
    notes = [
        f"{name}.postprocess.score_threshold is {threshold:g}: detections of a lower score are lost, which lowers AP; "
        "set it to 0.05 or less, and give `detkit predict` one of its own"
        for name, part in subject.model.named_modules()
        for threshold in [getattr(getattr(part, "postprocess", None), "score_threshold", None)]
        if threshold is not None and threshold >= HIGH_SCORE
    ]
    verdict = worst(finding.verdict, "warning") if notes else finding.verdict
    return replace(finding, verdict=verdict, notes=[*finding.notes, *notes])


def _with_unread(finding: Finding, dataset: ImageDataset) -> Finding:
    """Add the annotations that were left out when the file was read."""
    dropped = [] if dataset.packed_annotations is None else dataset.packed_annotations.dropped
    if not dropped:
        return finding
    note = (
        f"{len(dropped)} annotations of {dataset.annotations_path} are lost at {READING}: they have no area or lie "
        f"outside their image (data.on_bad_box is skip); correct them. The first is entry {dropped[0]} of the list"
    )
    return replace(finding, verdict=worst(finding.verdict, "warning"), notes=[note, *finding.notes])


def _with_cut(finding: Finding, cut: int, total: int) -> Finding:
    """Add how many objects augmentation cuts out of the images."""
    numbers = finding.numbers | {"cut": cut, "objects": total}
    if not cut:
        return replace(finding, numbers=numbers)
    note = f"{cut} of {total} objects ({cut / total:.1%}) are cut by the augmentation, and not learned in such an epoch"
    many = cut > MANY_CUT * total
    if many:
        note += "; lower crop or zoom of data.augmentation, or raise crop_size"
    verdict = worst(finding.verdict, "warning") if many else finding.verdict
    return replace(finding, verdict=verdict, notes=[note, *finding.notes], numbers=numbers)
