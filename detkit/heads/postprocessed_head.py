"""The base class of heads with a `Postprocess`, whose missing values the head fills in with its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from detkit.deprecation import MovedAttribute, old_arguments
from detkit.heads.old_arguments import OLD_ATTRIBUTES, move_to_postprocess
from detkit.heads.postprocess import NMS, Postprocess


class PostprocessedHead(nn.Module):
    """A head with a `Postprocess`, or several.

    Attributes:
        own_values: for each attribute that holds a `Postprocess`, the arguments of `Postprocess.with_defaults`, which
            is called when the attribute is set.
        usual_postprocess: the class that is used if the attribute is set to None.
        old_attributes: for each attribute of the previous release, where it is now.
        old_keywords: translates constructor arguments of the previous release.
    """

    if TYPE_CHECKING:

        class Filled:
            """An attribute that `__setattr__` fills: it may be set to None but is never read as None."""

            def __get__(self, head: Any, owner: type | None = None) -> Postprocess: ...
            def __set__(self, head: Any, value: Postprocess | None) -> None: ...

        postprocess: Filled

    own_values: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    usual_postprocess: ClassVar[type[Postprocess]] = NMS
    old_attributes: ClassVar[Mapping[str, tuple[str, ...]]] = OLD_ATTRIBUTES
    old_keywords: ClassVar[Callable[..., dict[str, Any]]] = staticmethod(move_to_postprocess)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "own_values" in vars(cls):
            for name, paths in cls.old_attributes.items():
                if not hasattr(cls, name):
                    MovedAttribute(*paths).put(cls, name)
        init = vars(cls).get("__init__")
        if init is not None and "postprocess" in inspect.signature(init).parameters:
            # mypy lets no method be replaced, not even by one of the same signature.
            cls.__init__ = old_arguments(cls.old_keywords)(init)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.own_values:
            value = (value or self.usual_postprocess()).with_defaults(**self.own_values[name])
        if self._is_old_number(name, value):
            MovedAttribute("postprocess.candidates", name=name).__set__(self, value)
        else:
            super().__setattr__(name, value)

    def _is_old_number(self, name: str, value: Any) -> bool:
        """Whether the number of candidates is set by its old name, which would hide the method `candidates`."""
        return name == "candidates" and bool(self.own_values) and (value is None or isinstance(value, int))
