"""How many threads a command starts: of affinity, quota, Slurm and what a person typed."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY, Command

from amir_lightning.errors import InputError
from amir_lightning.system import cores

CHOICES = (
    "OMP_NUM_THREADS",
    "SLURM_CPUS_PER_TASK",
    "SLURM_NTASKS",
    "LOCAL_WORLD_SIZE",
    "GOMP_SPINCOUNT",
    "LOKY_MAX_CPU_COUNT",
)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that may run on eight cores, in an environment that says nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    """As at the beginning of a command."""
    cores._typed.cache_clear()
    cores._say.cache_clear()


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system with control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "sys/fs/cgroup/cpu/cpu.cfs_"
V2 = "sys/fs/cgroup/"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {V2 + "cpu.max": "max 100000"}, 8),
        ("0::/", {V2 + "cpu.max": "300000 100000"}, 3),
        ("0::/", {V2 + "cpu.max": "150000 100000"}, 2),
        ("0::/", {V2 + "cpu.max": "5000 100000"}, 1),
        ("0::/", {V2 + "cpu.max": "9900000 100000"}, 8),
        # A group's limit is also that of the groups in it.
        ("0::/a/b", {V2 + "a/cpu.max": "200000 100000", V2 + "a/b/cpu.max": "max 100000"}, 2),
        # A container sees its own group as the root, but the name that the host gave it.
        ("0::/docker/1f", {V2 + "cpu.max": "400000 100000"}, 4),
        ("0::/../other", {V2 + "cpu.max": "400000 100000"}, 4),
        ("1:cpu:/", {V1 + "quota_us": "-1", V1 + "period_us": "100000"}, 8),
        ("1:cpu:/", {V1 + "quota_us": "250000", V1 + "period_us": "100000"}, 3),
        ("4:memory:/x\n1:cpu:/x", {V1 + "quota_us": "50000", V1 + "period_us": "50000"}, 1),
        (
            "3:cpu,cpuacct:/j",
            {
                "sys/fs/cgroup/cpu,cpuacct/j/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu,cpuacct/j/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        # A quota without a period, and what no kernel writes.
        ("1:cpu:/", {V1 + "quota_us": "250000"}, 8),
        ("0::/", {V2 + "cpu.max": "many"}, 8),
        ("0::/", {V2 + "cpu.max": "100000 0"}, 8),
    ],
)
def test_a_quota_limits_the_cores(
    eight: None, tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    assert cores.usable(machine(tmp_path, groups, files)) == expected


def test_affinity_counts_and_not_the_machine(eight: None, tmp_path: Path) -> None:
    assert cores.usable(tmp_path) == 8


def test_without_affinity_the_machine_counts(
    eight: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.usable(tmp_path) == 64


def test_slurm_says_how_many_a_task_has(
    eight: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert cores.usable(tmp_path) == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "100")
    assert cores.usable(tmp_path) == 8


@pytest.mark.parametrize(
    ("devices", "environment", "threads", "said"),
    [
        (1, {}, "8", "8 threads (of 8 cores this process may use)"),
        (2, {}, "4", "4 threads in each of 2 processes (of 8 cores they may use)"),
        ([0, 1, 5], {}, "2", "2 threads in each of 3 processes (of 8 cores they may use)"),
        ("0,1", {}, "4", "4 threads in each of 2 processes (of 8 cores they may use)"),
        (16, {}, "1", "1 thread in each of 16 processes (of 8 cores they may use)"),
        # torchrun says how many it started; Slurm gives each task cores of its own.
        (-1, {"LOCAL_WORLD_SIZE": "4"}, "2", "2 threads in each of 4 processes"),
        (4, {"SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "3"}, "3", "3 threads (of 3 cores"),
        (4, {"SLURM_CPUS_PER_TASK": "4"}, "1", "1 thread in each of 4 processes (of 4 cores"),
        (1, {"OMP_NUM_THREADS": "5"}, "5", "5 threads, as OMP_NUM_THREADS says (of 8 cores"),
        (2, {"OMP_NUM_THREADS": "12,1"}, "12,1", "12 threads in each of 2 processes, as OMP_"),
    ],
)
def test_processes_share_the_cores(
    eight: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    devices: object,
    environment: dict[str, str],
    threads: str,
    said: str,
) -> None:
    monkeypatch.setattr(cores, "_quotas", lambda _root: iter(()))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO, "amir_lightning"):
        cores.share({"devices": devices, "accelerator": "cpu"})
    assert os.environ["OMP_NUM_THREADS"] == threads
    assert caplog.messages[-1].startswith(said)
    monkeypatch.delenv("OMP_NUM_THREADS")


def test_what_is_shared_may_change_and_is_no_choice_of_the_user(
    eight: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cores, "_quotas", lambda _root: iter(()))
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    with caplog.at_level(logging.INFO, "amir_lightning"):
        for devices in (1, 2, 1):
            cores.share({"devices": devices, "accelerator": "cpu"})
    assert told == [8, 4, 8]
    assert [message.split(" (")[0] for message in caplog.messages] == [
        "8 threads",
        "4 threads in each of 2 processes",
    ]
    assert cores.threads(4) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    forget()
    cores.share({"devices": 2, "accelerator": "cpu"})
    assert cores.threads(4) == 3
    assert told == [8, 4, 8, 3]


@pytest.mark.parametrize("typed", ["two", "0", "-1", "1.5"])
def test_no_number_of_threads(eight: None, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", typed)
    with pytest.raises(InputError, match=rf"OMP_NUM_THREADS is '{typed}'.*unset OMP_NUM_THREADS"):
        cores.share(None)


def test_who_waits_sleeps_unless_told_otherwise(
    eight: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cores.let_others_run()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cores.let_others_run()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cores.let_others_run()
    assert "GOMP_SPINCOUNT" not in os.environ


ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.argv[0] = "train"
from amir_lightning.train.__main__ import main
main()
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
@pytest.mark.parametrize(
    ("typed", "threads", "said"),
    [
        ({}, 1, "1 thread (of 1 core this process may use)"),
        ({"OMP_NUM_THREADS": "3"}, 3, "3 threads, as OMP_NUM_THREADS says (of 1 core"),
    ],
)
def test_a_command_on_one_core(
    tmp_path: Path, data_dir: Path, typed: dict[str, str], threads: int, said: str
) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in CHOICES}
    options = [*TINY, "task=mri", "network=srcnn", f"paths.data_dir={data_dir}"]
    options.remove("network.width=8")
    done = subprocess.run(
        [sys.executable, "-c", ON_ONE_CORE, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, **typed},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.startswith(said)
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json"))
    assert record["threads"] == record["sessions"][0]["threads"] == threads
    assert record["device"] == "cpu (1 core)"


def test_a_run_that_goes_on_with_other_threads_says_so(
    train: Command, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("task=mri", "checkpoint.every=1").status == 0
    (folder,) = Path("runs").iterdir()

    def goes_on(**recorded: object) -> str:
        """Resume the run as if its result were not written yet."""
        (folder / "result.json").unlink()
        record = json.loads((folder / "run.json").read_text())
        if not recorded:
            del record["threads"]  # a run folder of an older version
        (folder / "run.json").write_text(json.dumps(record | recorded))
        done = command("train", "run=last")
        assert done.status == 0, done.err
        assert "resuming" in done.err
        return done.err

    now = torch.get_num_threads()
    assert f"OMP_NUM_THREADS={now + 1}" in goes_on(threads=now + 1)
    assert "OMP_NUM_THREADS=" not in goes_on(threads=now)
    assert "OMP_NUM_THREADS=" not in goes_on()
    assert json.loads((folder / "run.json").read_text())["threads"] == now
