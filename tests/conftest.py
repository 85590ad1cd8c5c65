"""What the tests of the public commands share: tiny patients, a tiny network, commands."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra

from amir_lightning.cli.searchpath import register_tasks
from amir_lightning.config import CONF_DIR

os.environ.setdefault("WANDB_MODE", "offline")
# Tiny tensors: threads would wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY_DATA = [
    "data.phantoms.train=2",
    "data.phantoms.val=1",
    "data.phantoms.test=1",
    "tasks.mri.phantom.size=64",
    "tasks.mri.phantom_slices=2",
    "tasks.ct.phantom.size=64",
    "tasks.ct.phantom_slices=2",
    "tasks.pet.phantom.size=48",
    "tasks.pet.phantom.num_slices=100",
    "tasks.pet.phantom_slices=2",
    "data.patch_size=32",
    "data.batch_size=4",
    "validation.every=2",
    "validation.slices=2",
    "trainer.max_steps=4",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "callbacks.samples.per_task=1",
    "logger=csv",
]
TINY = ["network.width=8", *TINY_DATA]


class Finished(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of embedded patients for the whole session."""
    return tmp_path_factory.mktemp("data")


def entry(name: str) -> Callable[[], None]:
    """``main`` of a command, which is a room or a module of the hall."""
    module = import_module(f"amir_lightning.{name}")
    if hasattr(module, "__path__"):
        module = import_module(f"amir_lightning.{name}.__main__")
    main: Callable[[], None] = module.main
    return main


@pytest.fixture
def command(
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Command:
    """Run ``python -m amir_lightning.<name> <options>`` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))  # of tables, else in $HOME
    # Hydra composes once more just to read hydra.mode, which no file sets: a tenth of all tests.
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)

    def run(name: str, *options: str) -> Finished:
        argv = [name, *options]
        if not any(option.startswith(("--", "paths.data_dir=")) for option in options):
            argv.append(f"paths.data_dir={data_dir}")
        if name == "restore" and not any(one.startswith(("--", "engine=")) for one in options):
            argv.append("engine=torch")  # compiling takes longer than restoring tiny scans
        monkeypatch.setattr(sys, "argv", argv)
        GlobalHydra.instance().clear()
        capsys.readouterr()
        caplog.clear()
        try:
            entry(name)()
            status = 0
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 1
        captured = capsys.readouterr()
        return Finished(status, captured.out, captured.err + caplog.text)

    return run


@pytest.fixture
def train(command: Command) -> Command:
    """Train a tiny network on tiny patients."""

    def run(*options: str) -> Finished:
        return command("train", *TINY, *options)

    return run


@pytest.fixture
def composing() -> Iterator[None]:
    """As inside a command."""
    GlobalHydra.instance().clear()
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


def in_two_processes(folder: Path, data_dir: Path, *options: str) -> None:
    """Train in two processes on the CPU, in a folder."""
    usual = [option for option in TINY_DATA if not option.startswith("trainer.accelerator")]
    command = [sys.executable, "-m", "amir_lightning.train", *usual, "trainer=ddp_sim", *options]
    done = subprocess.run(
        [*command, f"paths.data_dir={data_dir}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
