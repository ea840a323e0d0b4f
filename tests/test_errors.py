from __future__ import annotations

from detkit.errors import causes_of


class TestCausesOf:
    def test_those_that_were_named_come_before_those_that_were_handled(self):
        first, second, third = KeyError("first"), OSError("second"), ValueError("third")
        third.__cause__, third.__context__, second.__context__ = second, RuntimeError(), first

        assert list(causes_of(third)) == [third, second, first]

    def test_errors_in_a_circle_come_once(self):
        outer, inner = ValueError("outer"), TypeError("inner")
        outer.__cause__, inner.__context__ = inner, outer

        assert list(causes_of(outer)) == [outer, inner]
