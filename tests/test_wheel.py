"""The wheel outside the checkout: a task and a network of one's own, from one's own folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from own_folder import OPTIONS, write_own
from weights_folders import write_weights

from amir_lightning.config import shipped_names

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


class Installed(NamedTuple):
    """An environment with the wheel, the user's folder, and `amir` as typed there."""

    bin: Path
    folder: Path
    amir: Callable[..., str]


def shell(folder: Path, *words: object, **environment: str) -> str:
    usual = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**usual, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("wheel")
    tools = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # where hatchling may lie
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", base / "dist"]
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("src", "conf", "experiments"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in (".gitignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    write_weights(checkout / "src" / "amir_lightning" / "weights" / "shipped" / "tiny", seed=0)
    shell(checkout, *build, **tools)
    (wheel,) = (base / "dist").glob("*.whl")
    shell(base, sys.executable, "-m", "venv", "--without-pip", base / "env")
    binaries = base / "env" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", binaries / "python"]
    shell(base, *pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The tested packages lie behind the wheel. Their own .pth files, such as that of an editable
    # installation of the checkout, are not read there.
    (site,) = (base / "env" / "lib").glob("python*/site-packages")
    (site / "tested.pth").write_text(sysconfig.get_path("purelib") + "\n")

    folder = base / "mine"
    write_own(folder)
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "mine"], ["commit", "-qm", "mine"]):
        shell(base, *git, *words)

    def amir(*words: object) -> str:
        return shell(folder, binaries / "amir", *words)

    return Installed(binaries, folder, amir)


@pytest.fixture(scope="module")
def trained(installed: Installed) -> Path:
    """A run of an experiment of the user's own, trained by a launcher's worker process."""
    own = ["--config-dir", "my", "experiment=mine", "hydra/launcher=cores"]
    installed.amir("train", "-m", *own, *OPTIONS)
    (record,) = (installed.folder / "runs").glob("*/run.json")
    return record.parent


def test_the_wheel_and_not_the_checkout_is_imported(installed: Installed) -> None:
    for module in ("amir_lightning", "my_networks"):
        code = f"import {module}; print({module}.__file__)"
        file = Path(shell(installed.folder, installed.bin / "python", "-c", code).strip())
        assert file.is_relative_to(installed.folder.parent)


def test_a_run_of_ones_own_is_evaluated_restored_with_and_tabulated(
    installed: Installed, trained: Path
) -> None:
    assert trained.name.startswith("us-small-demo-s0-")
    assert (trained / "result.json").exists()
    record = json.loads((trained / "run.json").read_text())
    assert record["git_commit"] is None  # the environment lies in a repository of the user's
    assert record["versions"]["amir-lightning"] != "not installed"

    table = installed.amir("tabulate", "--config-dir", "my", "experiment=mine", *OPTIONS)
    assert "Ultrasound" in table
    (paper,) = {path.parents[1] for path in installed.bin.parent.rglob("table1/paper.csv")}
    tables = {path.parent.name for path in (ROOT / "experiments").glob("*/paper.csv")}
    assert {path.parent.name for path in paper.glob("*/paper.csv")} == tables
    installed.amir(
        "evaluate", "run=last", "split=val", "trusted=[amir_lightning,lightning,my_networks]"
    )
    assert (trained / "evaluation" / "val" / "slices.csv").exists()

    scan = np.full((61, 47, 2), 700, dtype=np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), installed.folder / "scan.nii.gz")
    weights = [f"weights={trained.name}", "trusted=[my_networks]", "trainer.accelerator=cpu"]
    installed.amir("restore", *weights, "input=scan.nii.gz", "output=restored")
    (restored,) = (installed.folder / "restored").rglob("*.nii.gz")
    assert nib.load(restored).shape == scan.shape


def test_weights_of_the_wheel_restore_without_a_training(installed: Installed) -> None:
    code = "from amir_lightning.config import shipped_names; print(*shipped_names())"
    names = shell(installed.folder, installed.bin / "python", "-c", code).split()
    assert names == sorted([*shipped_names(), "tiny"])
    scan = np.full((40, 41, 1), 700, dtype=np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), installed.folder / "scan.nii.gz")
    for name in names:
        options = [f"weights={name}", "task=mri", f"output=by-{name}", "trainer.accelerator=cpu"]
        installed.amir("restore", "input=scan.nii.gz", *options)
        record = json.loads((installed.folder / f"by-{name}" / "restore.json").read_text())
        assert record["weights"] == f"{name}, as shipped"


def test_two_processes_run_the_same_command(installed: Installed) -> None:
    options = [option for option in OPTIONS if not option.startswith("trainer.accelerator")]
    own = ["--config-dir", "my", "task=mri+us", "network=small", "paths.runs_dir=two"]
    installed.amir("train", *own, *options, "trainer=ddp_sim")
    (record,) = (installed.folder / "two").glob("*/run.json")
    assert json.loads(record.read_text())["processes"] == 2
    assert (record.parent / "result.json").exists()
