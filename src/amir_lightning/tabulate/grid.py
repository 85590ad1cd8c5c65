"""A table as text: GitHub Markdown and LaTeX with booktabs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from amir_lightning.system.markdown import table

_ESCAPES = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "^": r"\^{}", "~": r"\~{}"}
_SYMBOLS = {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "✓": r"\checkmark",
    "—": "---",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "≤": r"$\le$",
}

_LONG_HEAD = 11  # letters


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: Its text.
        rank: Whether it is the best or second-best number of its column.
        beside: Small print next to the text.
    """

    text: str
    rank: Literal["", "best", "second"] = ""
    beside: str = ""


@dataclass(frozen=True)
class Grid:
    """A table without its caption.

    Attributes:
        spans: Upper header: texts and the number of columns that each covers.
        heads: Lower header, one text per column.
        body: Rows of cells.
        text_columns: Columns that are aligned left.
    """

    spans: Sequence[tuple[str, int]]
    heads: Sequence[str]
    body: Sequence[Sequence[Cell]]
    text_columns: frozenset[int]


def signed(value: float, form: str) -> str:
    """Write a number with its sign."""
    return format(value, f"+{form}").replace("-", "\N{MINUS SIGN}")


def markdown(grid: Grid) -> str:
    """Write a GitHub table. Both headers become one, because Markdown cells cannot span columns."""
    above = [text for text, width in grid.spans for _ in range(width)]
    heads = [f"{one} {two}".strip() for one, two in zip(above, grid.heads, strict=True)]
    rows = [[_markdown_cell(cell) for cell in row] for row in grid.body]
    return table(heads, rows, grid.text_columns)


def latex(grid: Grid, caption: str, label: str) -> str:
    """Write a ``table*`` as wide as the text; it needs booktabs, graphicx and amssymb.

    Small print goes below its number, because a narrow table can have larger letters.

    Args:
        grid: The table.
        caption: Plain text.
        label: Name that ``ref`` refers to.
    """
    columns = "".join("l" if at in grid.text_columns else "c" for at in range(len(grid.heads)))
    upper, rules, first = [], [], 1
    for text, width in grid.spans:
        upper.append(
            f"\\multicolumn{{{width}}}{{c}}{{{_escape(text)}}}" if width > 1 else _escape(text)
        )
        if width > 1:
            rules.append(f"\\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    lines = [
        "\\begin{table*}",
        "\\centering",
        "\\setlength{\\tabcolsep}{3pt}",
        "\\setlength{\\belowcaptionskip}{6pt}",
        f"\\caption{{{_escape(caption)}}}",
        f"\\label{{{label}}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        *([" & ".join(upper) + r" \\", "".join(rules)] if rules else []),
        " & ".join(_latex_head(text) for text in grid.heads) + r" \\",
        "\\midrule",
        *_latex_body(grid.body),
        "\\bottomrule",
        "\\end{tabular}}",
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = {"best": f"**{cell.text}**", "second": f"<u>{cell.text}</u>"}.get(cell.rank, cell.text)
    return f"{text} ({cell.beside})" if cell.beside else text


def _latex_body(body: Sequence[Sequence[Cell]]) -> list[str]:
    lines: list[str] = []
    for row in body:
        small = any(cell.beside for cell in row)
        if small and lines:
            lines.append("\\addlinespace[2pt]")
        lines.append(" & ".join(_latex_cell(cell) for cell in row) + r" \\")
        if small:
            lines.append(" & ".join(_latex_beside(cell) for cell in row) + r" \\")
    return lines


def _latex_head(text: str) -> str:
    """Write a column title; long ones take two lines."""
    first, _, last = text.rpartition(" ")
    if len(text) <= _LONG_HEAD or not first:
        return _escape(text)
    return f"\\shortstack{{{_escape(first)}\\\\{_escape(last)}}}"


def _latex_cell(cell: Cell) -> str:
    text = _escape(cell.text)
    return {"best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}"}.get(cell.rank, text)


def _latex_beside(cell: Cell) -> str:
    return f"{{\\scriptsize({_escape(cell.beside)})}}" if cell.beside else ""


def _escape(text: str) -> str:
    return "".join({**_ESCAPES, **_SYMBOLS}.get(letter, letter) for letter in text)
