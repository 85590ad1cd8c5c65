"""The wheel outside the checkout: a task and a network of one's own, from one's own folder."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from conftest import TINY_DATA

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NETWORK = '''
"""A network that no package knows."""

from torch import Tensor, nn

from amir_lightning.networks import RestorationNetwork


class Small(RestorationNetwork):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def restore(self, lq: Tensor) -> Tensor:
        return lq + self.layers(lq)
'''
EXPERIMENT = """
# @package _global_
hydra:
  sweeper:
    params:
      task: us
      network: small
"""
OPTIONS = [option for option in TINY_DATA if not option.startswith(("tasks.ct", "tasks.pet"))]
OPTIONS += ["tasks.us.phantom.size=64", "tasks.us.phantom_slices=2", "network.width=4"]


class Installed(NamedTuple):
    """An environment with the wheel, and a folder with what is the user's own."""

    bin: Path
    folder: Path
    run: Callable[..., subprocess.CompletedProcess[str]]


def shell(
    folder: Path, words: Sequence[object], **changed: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", **changed},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def done(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("wheel")
    tools = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # hatchling may lie there
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", base / "dist"]
    done(shell(ROOT, words, **tools))
    (wheel,) = (base / "dist").glob("*.whl")
    done(shell(base, [sys.executable, "-m", "venv", "--without-pip", base / "env"]))
    python = base / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    done(shell(base, [*pip, wheel]))
    # The tested packages, behind the wheel; their own .pth files, as of the checkout, do not count.
    (site,) = (base / "env" / "lib").glob("python*/site-packages")
    (site / "tested.pth").write_text(sysconfig.get_path("purelib") + "\n")

    folder = base / "mine"
    for group in ("tasks", "network", "experiment"):
        (folder / "my" / group).mkdir(parents=True)
    (folder / "my/tasks/us.yaml").write_text(
        "defaults: [mri, _self_]\ntitle: Ultrasound\ndicom_modality: US\n"
    )
    (folder / "my/network/small.yaml").write_text("_target_: my_networks.Small\nwidth: 8\n")
    (folder / "my/experiment/mine.yaml").write_text(EXPERIMENT)
    (folder / "my_networks.py").write_text(NETWORK)
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "mine"], ["commit", "-qm", "mine"]):
        done(shell(base, [*git, *words]))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return shell(folder, [python.with_name("amir"), *words])

    return Installed(python.parent, folder, run)


@pytest.fixture(scope="module")
def trained(installed: Installed) -> Path:
    words = ["train", "-m", "--config-dir", "my", "experiment=mine", *OPTIONS]
    done(installed.run(*words))
    (record,) = (installed.folder / "runs").glob("*/run.json")
    return record.parent


def test_the_wheel_and_not_the_checkout_is_imported(installed: Installed) -> None:
    code = "import amir_lightning, torch; print(amir_lightning.__file__)"
    file = done(shell(installed.folder, [installed.bin / "python", "-c", code]))
    assert Path(file.strip()).is_relative_to(installed.bin.parent)


def test_an_own_task_and_network_train_evaluate_and_stand_in_a_table(
    installed: Installed, trained: Path
) -> None:
    assert trained.name.startswith("us-small-demo-s0-")
    record = json.loads((trained / "run.json").read_text())
    assert record["git_commit"] is None  # the environment lies in a repository of the user's
    options = ["experiment=mine", *OPTIONS]
    table = done(installed.run("tabulate", "--config-dir", "my", *options, "output=table"))
    assert "Ultrasound" in table
    assert "1: 1 finished" in done(installed.run("plan", "--config-dir", "my", *options))

    refused = installed.run("evaluate", "run=last")
    assert refused.returncode == 2
    (trusted,) = [word for word in refused.stderr.split() if word.startswith("trusted=[")]
    done(installed.run("evaluate", "run=last", "split=val", trusted))
    assert (trained / "evaluation" / "val" / "slices.csv").exists()


def test_scans_are_restored_with_an_own_network(installed: Installed, trained: Path) -> None:
    scan = np.full((61, 47, 2), 700, dtype=np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), installed.folder / "scan.nii.gz")
    for weights, output in ((trained.name, "restored"), ("exported", "restored-again")):
        if weights == "exported":
            refused = installed.run("export", "run=last", "output=exported")
            assert "trusted=[amir_lightning.networks,my_networks]" in refused.stderr
            trusted = "trusted=[amir_lightning.networks,my_networks]"
            out = done(installed.run("export", "run=last", "output=exported", trusted))
            assert "trusted=['my_networks']" in out
        words = ["restore", f"weights={weights}", "input=scan.nii.gz", f"output={output}"]
        refused = installed.run(*words)
        assert refused.returncode == 2
        assert "trusted=[amir_lightning.degradation,my_networks]" in refused.stderr
        trusted = "trusted=[amir_lightning.degradation,my_networks]"
        done(installed.run(*words, trusted, "trainer.accelerator=cpu"))
    paths = [next((installed.folder / name).rglob("*.nii.gz")) for name in ("restored", output)]
    first, second = (np.asarray(nib.load(path).dataobj) for path in paths)
    assert np.array_equal(first, second)


def test_two_processes_are_started_as_the_first(installed: Installed) -> None:
    options = [option for option in OPTIONS if not option.startswith("trainer.accelerator")]
    words = ["train", "--config-dir", "my", "task=mri+us", "network=small", *options]
    done(installed.run(*words, "trainer=ddp_sim", "paths.runs_dir=two"))
    (record,) = (installed.folder / "two").glob("*/run.json")
    assert json.loads(record.read_text())["processes"] == 2
    assert (record.parent / "result.json").exists()


def test_a_launcher_finds_what_is_the_users_own(installed: Installed) -> None:
    words = ["train", "-m", "--config-dir", "my", "task=us", "network=small", "seed=1,2", *OPTIONS]
    done(installed.run(*words, "hydra/launcher=cores", "paths.runs_dir=side"))
    assert len(list((installed.folder / "side").glob("*/result.json"))) == 2
