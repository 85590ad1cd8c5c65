"""Run a notebook's cells without Jupyter; as a program, write their outputs into the notebook.

``python tests/notebook.py docs/tutorial.ipynb`` in an empty folder runs all of it there.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


def code_cells(notebook: dict[str, Any]) -> list[Cell]:
    """The cells that hold Python."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook: dict[str, Any], **parameters: object) -> dict[str, object]:
    """Execute every code cell in the current folder and store its outputs in it.

    Args:
        notebook: Content of an ``.ipynb`` file; changed in place.
        parameters: Values that replace those of the cell with the tag "parameters".

    Returns:
        The variables that the cells leave.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for count, cell in enumerate(code_cells(notebook), start=1):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            value = _execute("".join(cell["source"]), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names.update(parameters)
        cell["execution_count"] = count
        cell["outputs"] = list(_outputs(printed.getvalue(), value, count))
    return names


def _execute(source: str, names: dict[str, object]) -> object:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<cell>", "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def _outputs(printed: str, value: object, count: int) -> Iterator[Cell]:
    if printed:
        lines = printed.splitlines(keepends=True)
        yield {"output_type": "stream", "name": "stdout", "text": lines}
    if value is None:
        return
    data: dict[str, object] = {"text/plain": [repr(value)]}
    if hasattr(value, "save"):  # a picture
        png = io.BytesIO()
        value.save(png, "PNG", optimize=True)
        data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": ["picture"]}
    yield {"output_type": "execute_result", "execution_count": count, "data": data, "metadata": {}}


if __name__ == "__main__":
    path = Path(sys.argv[1]).resolve()
    content = json.loads(path.read_text())
    run(content)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
