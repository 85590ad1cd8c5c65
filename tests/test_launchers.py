"""A sweep goes on after a failure and resumes; every launcher and sweeper trains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amir_lightning.cli import explain

SWEEP = [
    "task=mri",
    "network=srcnn",
    "data.phantoms.train=2",
    "data.phantoms.val=1",
    "data.phantoms.test=1",
    "tasks.mri.phantom.size=64",
    "tasks.mri.phantom_slices=2",
    "data.patch_size=32",
    "data.batch_size=4",
    "validation.every=2",
    "validation.slices=2",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "callbacks.samples.per_task=1",
    "logger=csv",
]


def results(runs_dir: Path) -> list[str]:
    return sorted(path.parent.name for path in runs_dir.glob("*/result.json"))


def test_a_failed_job_does_not_stop_the_rest(command, tmp_path: Path) -> None:
    done = command("train", "-m", *SWEEP, "network.widths=[8,8],[8],[8,4]")
    assert done.status == 2
    assert "network.widths=[8]" in done.err
    assert "a job of the sweep failed, see above" in done.err
    assert len(results(tmp_path / "runs")) == 2
    again = command("train", "-m", *SWEEP, "network.widths=[8,8],[8,4]")
    assert again.status == 0
    assert again.err.count("has finished before") == 2


def shell(data_dir: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "amir_lightning.train", "-m", *SWEEP]
    return [*command, f"paths.data_dir={data_dir}", *options]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "options"),
    [
        ("hydra_joblib_launcher", ["hydra/launcher=cores", "seed=0,1"]),
        ("hydra_submitit_launcher", ["hydra/launcher=jobs", "seed=0,1"]),
        (
            "hydra_optuna_sweeper",
            [
                "hydra/sweeper=search",
                "hydra.sweeper.n_trials=2",
                "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))",
            ],
        ),
    ],
)
def test_launchers_and_sweepers(
    plugin: str, options: list[str], data_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}")
    done = subprocess.run(
        shell(data_dir, *options), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "runs")) == 2


@pytest.mark.slow
def test_ctrl_c_ends_the_whole_sweep(data_dir: Path, tmp_path: Path) -> None:
    options = ["trainer.max_steps=100000", "seed=0,1"]
    with subprocess.Popen(
        shell(data_dir, *options), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not list((tmp_path / "runs").glob("*/checkpoints/last.ckpt")):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.2)
            os.kill(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()  # or it would train on after a failure
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT" in err
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 1


def test_a_missing_extra_is_named() -> None:
    from hydra.errors import MissingConfigException

    error = MissingConfigException(
        "In 'hydra/launcher/cores': Could not find 'hydra/launcher/joblib'"
    )
    assert explain(error, "train") == (
        "this needs the extra joblib; type pip install 'amir-lightning[joblib]'"
    )
