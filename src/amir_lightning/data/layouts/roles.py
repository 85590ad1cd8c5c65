"""Recognise the full (HQ) and the reduced (LQ) scan by words in names and descriptions."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Literal

from amir_lightning.errors import InputError

Role = Literal["hq", "lq"]

_WORDS: dict[Role, str] = {
    "hq": r"full[ _-]?dose|full[ _-]?count|full|fd|hq|hqs|high|ndct|fdct|normal[ _-]?dose|target",
    "lq": r"quarter[ _-]?dose|quarter|qd|lq|low[ _-]?dose|low[ _-]?count|low|ld|ldct|reduced|input",
}
_MEANING: dict[Role, str] = {"hq": "full", "lq": "reduced"}
_PATTERNS = {
    role: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE)
    for role, words in _WORDS.items()
}


def without_role(text: str) -> str:
    """Remove the words that name a role, which leaves the part that both scans share."""
    for pattern in _PATTERNS.values():
        text = pattern.sub("", text)
    return re.sub(r"[ _-]{2,}", "_", text).strip(" _-.")


@cache
def role_of(text: str) -> Role | None:
    """Role that a text names; None if it names no role or both."""
    named: list[Role] = [role for role, pattern in _PATTERNS.items() if pattern.search(text)]
    return named[0] if len(named) == 1 else None


def is_role(text: str) -> bool:
    """Whether a name contains a role, so that it does not name a patient."""
    return any(pattern.search(text) for pattern in _PATTERNS.values())


def roles_of(places: Sequence[tuple[str, ...]]) -> list[Role | None]:
    """Role of each scan by the innermost of its names that contains a role.

    The names of collections, such as ``LDCT-and-Projection-data``, are ignored. A collection is a
    folder that holds all scans, or whose scans have both roles by the names inside it.

    Args:
        places: For each scan the names of its folders, from the outermost, and its own name.
    """
    held = Counter(place[:depth] for place in places for depth in range(1, len(place)))
    collections = {folder for folder, count in held.items() if 1 < count == len(places)}
    inside: dict[tuple[str, ...], set[Role]] = defaultdict(set)
    for place in places:
        inner: Role | None = None
        for depth in range(len(place) - 1, 0, -1):
            inner = inner or role_of(place[depth])
            if inner:
                inside[place[:depth]].add(inner)
    collections |= {folder for folder, roles in inside.items() if len(roles) == 2}
    return [_innermost(place, collections) for place in places]


def with_description(role: Role | None, description: str, name: str) -> Role | None:
    """Role of a scan by its names or, if they contain none, by its Series Description.

    Args:
        role: Role by its names, or None.
        description: Series Description.
        name: Name of the scan in errors.

    Raises:
        InputError: Names and description contradict each other.
    """
    described = role_of(description)
    if role and described and described != role:
        raise InputError(
            f"the name of {name} says {_MEANING[role]} and its description '{description}' says "
            f"{_MEANING[described]} for the same scan; expected one of them: rename the folder or "
            "the file"
        )
    return role or described


def _innermost(place: tuple[str, ...], collections: set[tuple[str, ...]]) -> Role | None:
    for depth in range(len(place), 0, -1):
        if place[:depth] not in collections and (role := role_of(place[depth - 1])):
            return role
    return None
