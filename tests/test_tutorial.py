"""docs/tutorial.ipynb runs from top to bottom, and holds the outputs of a real run."""

import json
from pathlib import Path
from typing import Any

import notebook
import numpy as np
import pytest
from conftest import TINY
from PIL import Image

from amir_lightning.runs.folder import run_folders

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


@pytest.fixture
def content() -> dict[str, Any]:
    return json.loads(TUTORIAL.read_text())


def pictures(content: dict[str, Any]) -> int:
    outputs = [output for cell in notebook.code_cells(content) for output in cell["outputs"]]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_runs_at_tiny_size(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)  # undone at the end: the notebook goes elsewhere
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = pictures(content)
    names = notebook.run(content, steps=8, options=TINY)
    assert shown == pictures(content) == 4
    assert [run.record["task"] for run in run_folders(Path("runs"))] == ["mri+pet", "pet+mri2x"]
    assert np.shape(names["restored"]) == np.shape(names["hq"])
    assert isinstance(names["show"]("contact_sheet.png"), Image.Image)


def test_holds_the_outputs_of_a_real_run(content: dict[str, Any]) -> None:
    cells = notebook.code_cells(content)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    texts = ["".join(out.get("text", [])) for cell in cells for out in cell["outputs"]]
    assert any("test scores, paper definition" in text for text in texts)
    assert not any("Traceback" in text or "error:" in text for text in texts)
    assert TUTORIAL.stat().st_size < 3e6
