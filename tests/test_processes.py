"""Two processes on the CPU: one folder, one result, the same slices scored once."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, Command

pytestmark = pytest.mark.slow


def test_two_processes_share_a_run(train: Command, data_dir: Path, tmp_path: Path) -> None:
    # One process first: it fills the cache of patients and gives the numbers to compare with.
    one = ["task=mri+ct", "data.batch_size=4", "loss.balance_weight=0", "network=restormer"]
    assert train(*one, "paths.runs_dir=one").status == 0
    options = [option for option in TINY if not option.startswith("trainer.accelerator")]
    command = [sys.executable, "-m", "amir_lightning.train", *options, "trainer=ddp_cpu"]
    command += [*one, "data.batch_size=2", "paths.runs_dir=two", f"paths.data_dir={data_dir}"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = Path("two").glob("mri+ct-restormer*")
    record = json.loads((folder / "run.json").read_text())
    assert record["processes"] == 2
    assert record["effective_batch"] == 4

    (single,) = Path("one").glob("mri+ct-restormer*")
    rows = []
    for path in (single, folder):
        with (path / "evaluation" / "test" / "slices.csv").open() as file:
            rows.append(list(csv.DictReader(file)))
    assert [(r["task"], r["patient"], r["slice"]) for r in rows[0]] == [
        (r["task"], r["patient"], r["slice"]) for r in rows[1]
    ]
    # The same global batches, so the same weights up to the order of float additions.
    for a, b in zip(*rows, strict=True):
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=0.02)
