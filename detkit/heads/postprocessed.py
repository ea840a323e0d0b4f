"""Heads with a `Postprocess`: one that is set, by the constructor or later, gets the head's own values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import nn

from detkit.deprecation import MovedAttribute, old_arguments
from detkit.heads.old_arguments import OLD_ATTRIBUTES, moved_to_postprocess
from detkit.heads.postprocess import NMS, Postprocess


class Postprocessed(nn.Module):
    """A head with a `Postprocess`, or several.

    Attributes:
        own_values: by the attribute of each `Postprocess` what `Postprocess.with_defaults` fills in when it is set.
        usual_postprocess: makes the one that a head has if none is given.
        old_attributes: where attributes of the release before stand now.
        old_keywords: makes arguments of the release before those of now.
    """

    own_values: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    usual_postprocess: ClassVar[Callable[[], Postprocess]] = NMS
    old_attributes: ClassVar[Mapping[str, tuple[str, ...]]] = OLD_ATTRIBUTES
    old_keywords: ClassVar[Callable[..., dict[str, Any]]] = staticmethod(moved_to_postprocess)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "own_values" in vars(cls):
            for name, paths in cls.old_attributes.items():
                if not hasattr(cls, name):
                    MovedAttribute(*paths).put(cls, name)
        init = vars(cls).get("__init__")
        if init is not None and "postprocess" in inspect.signature(init).parameters:
            cls.__init__ = old_arguments(cls.old_keywords)(init)  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.own_values:
            value = (value or self.usual_postprocess()).with_defaults(**self.own_values[name])
        if self._is_old_number(name, value):
            MovedAttribute("postprocess.candidates", name=name).__set__(self, value)
        else:
            super().__setattr__(name, value)

    def _is_old_number(self, name: str, value: Any) -> bool:
        """Whether `value` is for suppression, where `candidates` is a method now that it would hide."""
        return name == "candidates" and bool(self.own_values) and (value is None or isinstance(value, int))
