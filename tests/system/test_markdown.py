"""Tables are read back by a Markdown parser of others."""

import re

import pytest

from amir_lightning.system.markdown import table


def test_cells_stay_in_their_columns() -> None:
    markdown_it = pytest.importorskip("markdown_it")
    text = table(["task", "HQ | LQ"], [["a|b", "1"], ["", "2"]])
    html = markdown_it.MarkdownIt().enable("table").render(text)
    assert re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html) == [
        "task",
        "HQ | LQ",
        "a|b",
        "1",
        "",
        "2",
    ]
    assert html.count("text-align:right") == 3, "numbers, head included"
