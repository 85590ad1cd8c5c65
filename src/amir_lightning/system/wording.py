"""Words that messages share."""

from collections.abc import Sequence


def counted(name: str, number: int) -> str:
    """A number and what it counts: "1 slice", "2 slices"."""
    return f"{number} {name}{'s' * (number != 1)}"


def joined(names: Sequence[str]) -> str:
    """Names as a sentence lists them: "A", "A and B", "A, B and C"."""
    return " and ".join([*filter(None, [", ".join(names[:-1])]), *names[-1:]])
