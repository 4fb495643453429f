"""Patterns that a name can make run for ever are refused; those of real cards are not."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprd_pyg.data import DataCard
from mprd_pyg.data.cards.patterns import may_take_for_ever, parser
from mprd_pyg.data.cards.typed_yaml import CardError


@pytest.mark.parametrize("pattern", [
    r"(a+)+b", r"(\w+)*x", r"((a)*)*", r"(a|a)*b", r"(a|aa)*c", r"(ab?b?)*c", r"([ab]+b+/)*x", r"(x(?:bc|[b]c))*y",
    r"(?:.+/)*x", r"(\w+\d)+x", r"([a-z]+b)+", r"(a*?)*",
    r"(?:(?:a{1,99}){1,99})x", r"(x(?=(a+)+b))", r"(?P<person>(\d+)+)_c", r"((?i:A)+a)+", r"(.*_)*", r"([^x]*y)*",
    r"(\s+ )+", r"(\D+a)*", r"(\d{1,8})+x"])
def test_refused(pattern):
    assert may_take_for_ever(pattern)
    with pytest.raises(CardError, match="for ever"):
        DataCard.load("market1501").replace(pattern=pattern)


@pytest.mark.parametrize("pattern", [
    r"(?:[^/]+/)*(?P<person>\d+)_c(?P<camera>\d)\.jpg", r"(?:.*/)?(?P<person>\d+).*\.(?i:jpg|png)", r"(ab)+",
    r"(a+){1,8}", r"(?:\d+_)+x", r"(?:[a-z]+-)*[a-z]+", r"(?:cam|c)?\d+", r"([^/]*/)+", r"(?:(?:a|b)/)*"])
def test_accepted(pattern):
    assert not may_take_for_ever(pattern)


@pytest.mark.parametrize("name", DataCard.names())
def test_shipped_ones_are_accepted(name):
    assert not may_take_for_ever(DataCard.load(name).pattern)


piece = st.sampled_from(["a", "b", "/", r"\d", r"\w", ".", "[^/]", "[ab]"])
tree = st.recursive(piece, lambda inner: st.builds(
    "({}){}".format, st.lists(inner, min_size=1, max_size=3).map("".join), st.sampled_from(["*", "+", "?", "{0,99}"])),
    max_leaves=6)


@given(tree, st.lists(st.sampled_from("ab1/"), min_size=18, max_size=18).map("".join))
def test_an_accepted_pattern_matches_in_few_steps(pattern, name):
    """Counted by a matcher that tries every division: the number of ways to match a prefix stays a polynomial."""
    if may_take_for_ever(pattern):
        return
    assert ways(r"(a+)+b", 18 * "a") == 0 and ways(r"(a+)+", 18 * "a") == 2**18 - 1
    assert ways(pattern, name) <= 2 * len(name) ** 3


def ways(pattern, name):
    """How many paths a backtracking matcher can take through the name, at most, by the pattern's parse tree."""
    items = list(parser.parse(pattern))

    def after(items, counts):
        for op, value in items:
            counts = step(op, value, counts)
        return counts

    def step(op, value, counts):
        kind = str(op)
        if kind == "SUBPATTERN":
            return after(list(value[-1]), counts)
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = value
            total, now = ({} if low else dict(counts)), counts
            for _ in range(min(int(high), len(name) + 1)):
                now = {end: number for end, number in after(list(body), now).items() if end is not None}
                now = {end: number for end, number in now.items() if end > min(counts, default=0)}
                for end, number in now.items():
                    total[end] = total.get(end, 0) + number
            return total
        single = re.compile({"LITERAL": lambda: re.escape(chr(value)), "ANY": lambda: ".",
                             "NOT_LITERAL": lambda: f"[^{chr(value)}]"}.get(kind, lambda: in_set(value))())
        return {end + 1: number for end, number in counts.items() if end < len(name) and single.match(name[end])}

    def in_set(members):
        first = str(members[0][1]) if str(members[0][0]) == "CATEGORY" else None
        if first:
            return r"\d" if "DIGIT" in first else r"\w"
        return "[ab]"
    return sum(after(items, {0: 1}).values())
