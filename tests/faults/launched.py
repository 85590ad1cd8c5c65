"""The train command in processes of its own, that tests may kill; and how runs are compared."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import TINY

SHORT = [*TINY, "task=mri", "network.width=4", "sampling=balanced"]
TRAIN = [sys.executable, "-m", "amir_lightning.train"]
DYING = [sys.executable, str(Path(__file__).with_name("dying.py"))]


class Launched:
    """A command in a process group of its own."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115  # read when the command ended
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def wait(self, seconds: float = 240) -> tuple[int, str]:
        """Exit status, negative for a signal, and all that was printed."""
        if not _in_time(lambda: self.process.poll() is not None, seconds):
            raise AssertionError(f"still running after {seconds} s: {self.kill()[-3000:]}")
        return self.process.returncode, self.said()

    def said(self) -> str:
        """All that was printed so far."""
        self.output.seek(0)
        return self.output.read()

    def kill(self) -> str:
        """End the whole group at once, as a power cut would; returns what was printed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self.said()

    def until(self, happened: Callable[[], Any], seconds: float = 240) -> None:
        """Wait for something to happen while the command runs."""
        _in_time(lambda: happened() or self.process.poll() is not None, seconds)
        if not happened():
            status = self.process.poll()
            raise AssertionError(f"in vain (status {status}): {self.kill()[-3000:]}")

    def is_gone(self, seconds: float = 10) -> bool:
        """Whether no process of the group is left, in so many seconds."""
        return _in_time(self._nobody, seconds)

    def _nobody(self) -> bool:
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False


def _in_time(happened: Callable[[], Any], seconds: float) -> bool:
    """Whether something happens in so many seconds of this process; pauses of both do not count."""
    for _ in range(round(seconds / 0.005)):
        if happened():
            return True
        time.sleep(0.005)
    return False


def run_folder(runs: Path) -> Path:
    """The only run of a folder."""
    (folder,) = [path.parent for path in runs.glob("*/run.json")]
    return folder


def record(runs: Path) -> dict[str, Any]:
    """What its run.json says."""
    return json.loads((run_folder(runs) / "run.json").read_text())


def last(runs: Path) -> Path:
    """Its last checkpoint, if there is one yet."""
    return next(iter(runs.glob("*/checkpoints/last.ckpt")), runs / "none")


def saved_at(runs: Path) -> float:
    """When the last checkpoint was written; 0 before the first."""
    try:
        return last(runs).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def assert_same_run(one: Path, other: Path) -> None:
    """The same weights, optimiser and scores, bit for bit."""
    for name in ("last", "best"):
        states = [
            torch.load(run_folder(runs) / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for runs in (one, other)
        ]
        assert states[0]["global_step"] == states[1]["global_step"]
        _assert_equal(states[0]["state_dict"], states[1]["state_dict"])
        for part in ("optimizer_states", "lr_schedulers"):
            _assert_equal(states[0][part], states[1][part])
    results = [(run_folder(runs) / "result.json").read_text() for runs in (one, other)]
    assert results[0] == results[1]


def _assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _assert_equal(a, b)
    else:
        assert one == other
