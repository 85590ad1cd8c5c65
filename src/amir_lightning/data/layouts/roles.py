"""Which of two scans is the full one: words in names and descriptions."""

import re
from typing import Literal

from amir_lightning.errors import InputError

Role = Literal["hq", "lq"]

_WORDS: dict[Role, str] = {
    "hq": r"full[ _-]?dose|full[ _-]?count|full|fd|hq|hqs|high|ndct|fdct|normal[ _-]?dose|target",
    "lq": r"quarter[ _-]?dose|quarter|qd|lq|low[ _-]?dose|low[ _-]?count|low|ld|ldct|reduced|input",
}
_PATTERNS = {
    role: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE)
    for role, words in _WORDS.items()
}


def without_role(text: str) -> str:
    """What is left of a name without the words that tell the role: what both scans share."""
    for pattern in _PATTERNS.values():
        text = pattern.sub("", text)
    return re.sub(r"[ _-]{2,}", "_", text).strip(" _-.")


def role_of(*texts: str) -> Role | None:
    """Role that the first text with such a word names; None if none does.

    Args:
        texts: Names and descriptions, the most telling first.

    Raises:
        InputError: One text says both, or two texts contradict each other.
    """
    said: dict[Role, str] = {}
    for text in texts:
        for role, pattern in _PATTERNS.items():
            if pattern.search(text):
                said.setdefault(role, text)
    if len(said) == 2:
        raise InputError(
            f"'{said['hq']}' says full and '{said['lq']}' says reduced for the same scan; "
            "expected one of them: rename the folder or the file"
        )
    return next(iter(said), None)
