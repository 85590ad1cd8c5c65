"""Words that messages share."""


def counted(name: str, number: int) -> str:
    """A number and what it counts: "1 slice", "2 slices"."""
    return f"{number} {name}{'s' * (number != 1)}"
