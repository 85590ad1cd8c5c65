"""The one writer of Markdown tables."""

from collections.abc import Collection, Iterable, Sequence


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Collection[int] = (0,)
) -> str:
    """Write a table in GitHub's Markdown.

    Args:
        heads: One title per column.
        rows: One text per column each.
        text_columns: Columns that are aligned left; the others hold numbers.
    """
    marks = ["---" if at in text_columns else "---:" for at in range(len(heads))]
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in (heads, marks, *rows))
    return "".join(f"| {' | '.join(row)} |\n" for row in escaped)
