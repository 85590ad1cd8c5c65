"""Read W&B's offline files with the tool that comes with wandb."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from amir_lightning.errors import InputError


def offline_history(path: Path) -> list[dict[str, Any]]:
    """Read what a run logged; a truncated file is read up to its end.

    Args:
        path: The offline file, ``run-<id>.wandb``.

    Returns:
        One mapping for each logged row, with the optimiser step as ``step``.

    Raises:
        InputError: The file is not W&B's, or this wandb cannot read it.
    """
    # `leet inspect` is the supported reader: the classes behind it moved between versions.
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise InputError(
            f"{path} cannot be read by `wandb leet inspect` ({last.removeprefix('Error: ')}); "
            "type pip install 'wandb>=0.31' if yours is older, otherwise the file is damaged"
        )
    records = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [
        {**row, "step": row["trainer/global_step"]} for row in rows if "trainer/global_step" in row
    ]
