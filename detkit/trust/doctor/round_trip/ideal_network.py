"""A model whose network is replaced by one that knows the ground truth: only encoding and decoding remain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from detkit.errors import InputError
from detkit.heads import RPN, Context, DenseHead, ImageHead, RegionBranch, Regions, RegionSampler
from detkit.heads.assignment import assign_objects
from detkit.models import VisionModel
from detkit.structures import Target

_BASES = (DenseHead, ImageHead, RegionBranch)

_KEPT = 4  # templates of raw outputs, one for each size of a batch


class WithoutIdeal(InputError):
    """A head, or all of a model, has no `ideal`."""


@dataclass
class IdealNetwork:
    """Runs a model with a perfect network in place of its own, see `ideal_network`.

    Args:
        model: the model, whose heads are replaced.
        truth: the batch with its targets, of the last call.
        assigned: for each head that was called, by name, the rows of the objects that it has a candidate for.
        regions: the names of the heads among them that get regions.
    """

    model: VisionModel
    truth: Context | None = None
    assigned: dict[str, Tensor] = field(default_factory=dict)
    regions: set[str] = field(default_factory=set)

    def prepare(self, images: Sequence[Tensor], targets: Sequence[Target]) -> tuple[Any, Context]:
        """What the heads give for a batch, and its context, for `VisionModel.decode`."""
        model = self.model
        context = model.context(images, given=targets) if model.asks_for else model.context(images)
        self.truth = replace(context, targets=model.preprocess.targets(targets, context.batch))
        self.assigned = {}
        return model.heads(model.features(context.batch), context), context

    def decode(self, raw: Any, context: Context) -> Sequence[Any]:
        """The answers, in pixels of the images as given."""
        return [answer.to("cpu") for answer in self.model.decode(raw, context)]

    def labeled(self, regions: Regions) -> Regions:
        """Regions with the object of each: that of their label where they are detections."""
        assert self.truth is not None
        sampler = getattr(self.model, "region_sampler", None) or RegionSampler()
        if regions.labels is None:
            return sampler.labeled(regions, self.truth)
        # Boxes of different labels are moved apart, so that they do not overlap.
        objects = self.truth.objects
        side = 1 + torch.cat((regions.boxes.abs().flatten(), objects.boxes.abs().flatten())).amax() * 2
        moved = replace(
            objects, located=replace(objects.located, boxes=objects.boxes + (objects.labels * side)[:, None])
        )
        apart = regions.boxes + (regions.labels * side)[:, None]
        rows = assign_objects(sampler.matcher, apart, moved, regions.image_index)
        return replace(regions, labels=torch.where(rows >= 0, regions.labels, rows), matched=rows.clamp(min=0))


@contextmanager
def ideal_network(model: VisionModel) -> Iterator[IdealNetwork]:
    """Replace the network of `model` within: the backbone by zeros, each head by its `ideal`.

    Raises:
        WithoutIdeal: a head has none.
    """
    network = IdealNetwork(model)
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(_replaced(model, "features", _zeros(model)))
        for name, head in heads_of(model).items():
            of_regions = isinstance(head, RegionBranch)
            forward = _of_regions(name, head, network) if of_regions else _of_maps(name, head, network)
            stack.enter_context(_replaced(head, "forward", forward))
        yield network


def heads_of(model: VisionModel) -> dict[str, nn.Module]:
    """The heads of a model by name: the outermost modules with an `ideal` of their own.

    Raises:
        WithoutIdeal: there are none, or one of detkit's base classes has none, nor has a part of it.
    """
    parts = {name: part for name, part in model.named_modules() if name}
    ideal = [name for name, part in parts.items() if overrides(part, "ideal")]
    for name, head in parts.items():
        if isinstance(head, (*_BASES, RPN)) and not any(_contains(name, one) or _contains(one, name) for one in ideal):
            raise WithoutIdeal(f"{name}: a {type(head).__name__} has no method `ideal`, see docs/doctor.md")
    if not ideal:
        raise WithoutIdeal(f"a {type(model).__name__} has no head with a method `ideal`, see docs/doctor.md")
    return {name: parts[name] for name in ideal if not any(other != name and _contains(other, name) for other in ideal)}


def _contains(outer: str, inner: str) -> bool:
    """Whether a module, by its name, is another one or holds it."""
    return inner == outer or inner.startswith(f"{outer}.")


def overrides(head: nn.Module, method: str) -> bool:
    """Whether a module has a method that is not that of detkit's base classes, which give nothing."""
    return getattr(type(head), method, None) not in [None, *(getattr(base, method, None) for base in _BASES)]


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object an attribute that hides that of its class."""
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


def _zeros(model: VisionModel) -> Callable[[Any], Any]:
    """Maps of the shapes that the backbone would give, which it is not run for."""
    original, known = model.features, _Last()

    def features(batch: Any) -> Any:
        def make() -> Any:
            # Of torch, without annotations.
            with FakeTensorMode(allow_non_fake_inputs=True):  # type: ignore[no-untyped-call]
                maps = original(replace(batch, images=torch.empty(batch.images.shape)))
            return tree_map(lambda one: batch.images.new_zeros(one.shape) if isinstance(one, Tensor) else one, maps)

        return known.get(tuple(batch.images.shape), make)

    return features


def _of_maps(name: str, head: Any, network: IdealNetwork) -> Callable[..., Any]:
    original, known = head.forward, _Last()

    def forward(*inputs: Any) -> Any:
        assert network.truth is not None
        key = tuple(network.truth.batch.images.shape)
        raw = known.get(key, lambda: original(*inputs))
        ideal = head.ideal(raw, network.truth)
        if overrides(head, "assign"):
            network.assigned[name] = head.assign(raw, network.truth)
        return ideal

    return forward


def _of_regions(name: str, head: Any, network: IdealNetwork) -> Callable[..., Any]:
    def forward(crop: Any, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Any:
        assert network.truth is not None
        labeled = network.labeled(regions)
        if regions.labels is None:
            labels, matched = labeled.sampled()
            network.assigned[name] = torch.where(labels >= 0, matched, labels)
            network.regions.add(name)
        return head.ideal(labeled, so_far, network.truth)

    return forward


class _Last:
    """The last few results by key."""

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The result of a key, made where it is not known."""
        if key not in self.results:
            if len(self.results) >= _KEPT:
                del self.results[next(iter(self.results))]
            self.results[key] = make()
        return self.results[key]
