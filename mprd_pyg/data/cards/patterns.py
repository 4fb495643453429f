"""Regular expressions of cards that somebody else wrote: those that a name can make run for ever."""
import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as ops
    from re import _parser as parser
else:
    import sre_constants as ops
    import sre_parse as parser

FEW = 8  # a repetition of so many at most is none
REPEATS = {ops.MAX_REPEAT, ops.MIN_REPEAT, getattr(ops, "POSSESSIVE_REPEAT", None)}
VARIABLE = REPEATS | {ops.BRANCH, ops.GROUPREF, ops.GROUPREF_EXISTS, ops.ASSERT, ops.ASSERT_NOT}
CATEGORIES = {ops.CATEGORY_DIGIT: r"\d", ops.CATEGORY_NOT_DIGIT: r"\D", ops.CATEGORY_SPACE: r"\s",
              ops.CATEGORY_NOT_SPACE: r"\S", ops.CATEGORY_WORD: r"\w", ops.CATEGORY_NOT_WORD: r"\W"}
Item = tuple[Any, Any]


def may_take_for_ever(pattern: str) -> bool:
    """Whether something of variable length is repeated so that a name can be divided in ever more ways.

    ``(a+)+``, ``(a|a)*`` and ``(a?a?b)*`` are refused: matching can take a time exponential in the name's length.
    ``(?:[^/]+/)*`` is not: one part of a round is variable, and a letter that nothing else of it matches, here ``/``,
    ends it. Some harmless patterns are refused too. Repetitions in a row, whose time is a power of the name's length,
    are accepted.
    """
    return any(_ambiguous(body) for body in _repeated(list(parser.parse(pattern))))


def _ambiguous(body: list[Item]) -> bool:
    variable = [(op, value) for op, value in body if op in VARIABLE and not (op in REPEATS and value[0] == value[1])]
    if not variable and not any(op in VARIABLE for op, _ in _items(body)):
        return False
    fixed = [item for item in body if item not in variable]
    simple = len(variable) == 1 and variable[0][0] in REPEATS and not any(
        op in VARIABLE for op, _ in [*_items(variable[0][1][2]), *_items(fixed)])
    letters = [value for op, value in body if op is ops.LITERAL]
    return not (simple and any(letters.count(letter) == 1 and not _matches(
        [item for item in body if item != (ops.LITERAL, letter)], letter) for letter in letters))


def _repeated(items: list[Item]) -> Iterator[list[Item]]:
    """What is repeated, by all repetitions among the items and inside of them."""
    for op, value in _items(items):
        if op in REPEATS and value[1] > FEW:
            yield _flat(value[2])


def _flat(items: Any) -> list[Item]:
    """The items, groups opened."""
    found = []
    for op, value in items:
        found += _flat(value[-1]) if op is ops.SUBPATTERN else [(op, value)]
    return found


def _items(items: Any) -> Iterator[Item]:
    for op, value in items:
        yield op, value
        for inside in _inside(op, value):
            yield from _items(inside)


def _inside(op: Any, value: Any) -> list[Any]:
    if op in REPEATS:
        return [value[2]]
    if op is ops.SUBPATTERN:
        return [value[-1]]
    if op is ops.BRANCH:
        return value[1]
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return [value[1]]
    if op is getattr(ops, "ATOMIC_GROUP", None):
        return [value]
    return [part for part in value[1:] if part is not None] if op is ops.GROUPREF_EXISTS else []


def _matches(items: list[Item], letter: int) -> bool:
    """Whether any of the items could match a character; True if unknown."""
    for op, value in _items(items):
        if op in (ops.ANY, ops.GROUPREF) or op is ops.LITERAL and chr(value).lower() == chr(letter).lower():
            return True
        if op is ops.NOT_LITERAL and value != letter or op is ops.IN and _in_set(value, letter):
            return True
    return False


def _in_set(members: list[Item], letter: int) -> bool:
    """Whether a set such as ``[^a-z]`` holds a character, in either case."""
    found = False
    for case in {chr(letter), chr(letter).lower(), chr(letter).upper()}:
        for op, value in members:
            found |= (op is ops.LITERAL and value == ord(case)
                      or op is ops.RANGE and value[0] <= ord(case) <= value[1]
                      or op is ops.CATEGORY and re.fullmatch(CATEGORIES[value], case) is not None)
    return not found if members[0][0] is ops.NEGATE else found
