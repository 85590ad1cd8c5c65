"""The checklists of CONTRIBUTING.md, each walked with a toy in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
_SECTION = re.compile(r"^## Add an? (.*)\n(?:(?!- \[).*\n)*((?:(?!## ).*\n)*)", re.MULTILINE)
SECTIONS = dict(_SECTION.findall(TEXT))

# What each walk writes: new files by their text, and additions to files behind an anchor in them.
NEW = {
    "conf/tasks/toy.yaml": "",  # from the task that the checklist names
    "src/amir_lightning/degradation/toy.py": '''\
"""A toy of physics."""

from amir_lightning.degradation.kspace import KSpaceCrop


class Toy(KSpaceCrop):
    """Degrades as MRI does."""
''',
    "src/amir_lightning/phantoms/toy/__init__.py": "",
    "src/amir_lightning/phantoms/toy/phantom.py": '''\
"""A toy of a patient."""

from amir_lightning.phantoms.brain.phantom import Brain


class Toy(Brain):
    """Looks like a brain."""
''',
    "src/amir_lightning/networks/toy.py": '''\
"""A toy of a network.

Source: this test.

Deviation: none.
"""

from torch import Tensor, nn

from amir_lightning.networks.restoration_network import RestorationNetwork


class Toy(RestorationNetwork):
    """One convolution to some channels, one back.

    Args:
        width: Channels in between.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, 1, 3, padding=1)
        )

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, 1, H, W)."""
        return lq + self.layers(lq)
''',
    "conf/network/toy.yaml": "_target_: amir_lightning.networks.Toy\nwidth: 8   # channels\n",
    "conf/network/size/toy_demo.yaml": "width: 4\n",
    "conf/network/size/toy_study.yaml": "# 305 parameters: it is a toy.\nwidth: 16\n",
    "tests/networks/test_toy.py": """\
from amir_lightning.networks import Toy


def test_toy() -> None:
    assert sum(one.numel() for one in Toy().parameters()) == 10 * 8 + 73
""",
    "src/amir_lightning/data/layouts/toy.py": '''\
"""A toy of a layout: files that end in a word."""

from pathlib import Path

from amir_lightning.data.layouts.folder import nifti_patient
from amir_lightning.data.layouts.layout import RawDataset, check_folder, raw_dataset
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import nifti_stem
from amir_lightning.tasks import Task


def toy(raw_dir: Path, task: Task, toy_word: str = "toy") -> RawDataset:
    """Find the files whose names end in a word."""
    check_folder(raw_dir)
    files, skipped = find_files(raw_dir)
    patients = []
    for path in files:
        if nifti_stem(path).endswith(toy_word):
            patients.append(nifti_patient(nifti_stem(path), path, task, nifti_stem(path)))
        else:
            skipped.append(Skipped(path, "of another name"))
    return raw_dataset(raw_dir, task, patients, skipped, f"files named *{toy_word}.nii")
''',
    "src/amir_lightning/draw/toy.py": '''\
"""A toy of a figure: the scores of the tasks as bars."""

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import Drawing, new_figure


def draw(run: FinishedRun, toy_colour: str) -> Drawing:
    """Draw a bar for each task."""
    scores = {task.name: run.files.scores[task.name]["psnr"] for task in run.tasks}
    figure = new_figure(3, 2)
    figure.subplots().bar(list(scores), list(scores.values()), color=toy_colour)
    return Drawing(figure, {"": [{"task": name, "psnr": psnr} for name, psnr in scores.items()]})
''',
    "conf/experiment/toy.yaml": """\
# @package _global_
hydra:
  sweeper:
    params:
      network: toy
      task: toy
""",
}
LAYOUTS = "src/amir_lightning/data/layouts/__init__.py"
NETWORKS = "src/amir_lightning/networks/__init__.py"
DRAW = "src/amir_lightning/draw/__main__.py"
ADDED = [  # file, what is in it, what comes behind
    (
        "src/amir_lightning/degradation/__init__.py",
        "from amir_lightning.degradation.low_dose import LowDose\n",
        "from amir_lightning.degradation.toy import Toy\n",
    ),
    ("src/amir_lightning/degradation/__init__.py", '"LowDose"', ', "Toy"'),
    ("src/amir_lightning/phantoms/__init__.py", '__all__ = ["Abdomen", "Body", "Brain"', ', "Toy"'),
    ("conf/scale/demo.yaml", "used as it is\n", "  toy:\n    phantom_slices: 4\n"),
    (
        "tests/conftest.py",
        "TINY_DATA = [\n",
        '    "tasks.toy.phantom.size=64",\n    "tasks.toy.phantom_slices=2",\n',
    ),
    ("docs/preparing.md", "# Preparing data\n", "\nThe layout `toy`.\n"),
    ("docs/tasks.md", "# Tasks\n", "\nThe task `toy`.\n"),
    (NETWORKS, "FILES = {\n", '    "Toy": "toy",\n'),
    (NETWORKS, "__all__ = [\n", '    "Toy",\n'),
    (NETWORKS, "if TYPE_CHECKING:\n", "    from amir_lightning.networks.toy import Toy\n"),
    ("conf/compare.yaml", "paper's tables\n", "  - toy\n"),
    ("conf/titles/default.yaml", "others are shown by name.\n", "toy: Toy\n"),
    ("docs/networks.md", "# Networks\n", "\nThe network `toy`.\n"),
    ("docs/reference/networks.md", "# Networks\n", "\n::: amir_lightning.networks.toy\n"),
    (LAYOUTS, "import table\n", "from amir_lightning.data.layouts.toy import toy\n"),
    (LAYOUTS, '    "table": table,\n', '    "toy": toy,\n'),
    ("conf/prepare.yaml", "PD; null: T2\n", "  toy_word: null\n"),
    (
        "conf/prepare.yaml",
        "uses these data sets\n",
        "  toy:\n    about: a toy\n    split: {train: 1, val: 1, test: 1}\n"
        "    test_patients: []\n    grid: null\n    central_slices: null\n",
    ),
    ("src/amir_lightning/cli/typed.py", "TEXTS = (\n", '    "layout_options.toy_word",\n'),
    (DRAW, "FIGURES = (\n", '    "toy",\n'),
    (DRAW, "        gradient_conflict,\n", "        toy,\n"),
    (
        DRAW,
        "    match kind:\n",
        '        case "toy":\n            return toy.draw(run, cfg.toy_colour)\n',
    ),
    ("conf/draw.yaml", "unless `draw` names others\n", "  toy: [toy]\n"),
    ("conf/draw.yaml", "for the 95 % interval\n", "toy_colour: red   # toy: of the bars\n"),
    ("Makefile", "figure1 figure3 figure4", " toy"),
    ("docs/tables.md", "# Tables and figures\n", "\nThe figure `toy`.\n"),
]
# Files of a checklist that a toy leaves as they are, with the reason.
UNCHANGED = {
    "conf/tasks/mri.yaml": "the example",
    "src/amir_lightning/tasks.py": "a toy is not in the paper",
    "src/amir_lightning/degradation/parameters.py": "a toy draws nothing",
    "src/amir_lightning/runs/identity.py": "it does not normalise over the batch",
    "src/amir_lightning/networks/checkpoints/": "it has no public weights",
    "tests/test_conf.py": "finds it by itself",
    "tests/networks/test_network_conf.py": "finds it by itself",
    "tests/data/test_layouts.py": "TOY_TESTS stands for it",
    "tests/test_draw.py": "TOY_TESTS stands for it",
}
TOY_TESTS = """\
import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import TINY_DATA, Command

from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store


def test_task_and_network_and_figure(command: Command) -> None:
    assert command("contact_sheet", "task=toy", *TINY_DATA).status == 0
    done = command("train", "task=toy", "network=toy", *TINY_DATA)
    assert done.status == 0, done.err
    done = command("draw", "draw=toy", "run=last", "output=out", "toy_colour=blue")
    assert done.status == 0, done.err
    with open("out/toy.csv") as file:
        assert [row["task"] for row in csv.DictReader(file)] == ["toy"]
    done = command("draw", "experiment=toy", "output=out", *TINY_DATA)
    assert done.status == 0, done.err
    assert "toy" in command("compare", "measure=size", "networks=[toy]").out


def test_layout(command: Command) -> None:
    raw = Path("raw")
    raw.mkdir()
    random = np.random.default_rng(0)
    for name in ("a-2024", "b-2024", "c-2024", "d-other"):
        truth = random.uniform(0, 900, (40, 40, 3)).astype(np.float32)
        nib.save(nib.Nifti1Image(truth, np.eye(4)), raw / f"{name}.nii.gz")
    options = ["task=toy", "raw_dir=raw", "dataset=toy", "layout_options.toy_word=2024", "jobs=1"]
    done = command("prepare", *options, "output=toy.h5")
    assert done.status == 0, done.err
    assert [len(Store(Path("toy.h5")).patients(split)) for split in SPLITS] == [1, 1, 1]
"""


def named_paths(body: str) -> set[str]:
    """Files of the repository that a checklist names, for a thing that is called toy."""
    body = re.sub(r"<(?:name|figure)>", "toy", body)
    paths = set(re.findall(r"`((?:src|conf|tests)/[\w/.*]*|Makefile)`", body))
    return paths | set(re.findall(r"\]\((docs/[\w/.]*)\)", body))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a toy of everything."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "conf", "docs", "tests", "experiments"):
        kept_out = shutil.ignore_patterns("__pycache__", "*.png", "*.pdf", "golden")
        shutil.copytree(ROOT / name, folder / name, ignore=kept_out)
    for name in ("Makefile", "pyproject.toml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    for name, text in NEW.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        assert not path.exists()
        path.write_text(text)
    mri = (ROOT / "conf/tasks/mri.yaml").read_text()
    toy = mri.replace("degradation.KSpaceCrop", "degradation.Toy").replace("Brain", "Toy")
    (folder / "conf/tasks/toy.yaml").write_text(toy)
    for name, before, text in ADDED:
        path = folder / name
        content = path.read_text()
        assert before in content, f"{name} has no {before!r}"
        path.write_text(content.replace(before, before + text, 1))
    (folder / "tests/test_toys.py").write_text(TOY_TESTS)
    return folder


def test_there_are_the_checklists_that_are_walked() -> None:
    assert list(SECTIONS) == ["task", "network", "dataset layout", "figure"]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_file_of_a_checklist_is_written(section: str, copy: Path) -> None:
    paths = named_paths(SECTIONS[section])
    assert len(paths) > 3
    written = {name for name, *_ in ADDED} | set(NEW)
    for name in paths:
        assert (copy / name).exists(), name
        if name in UNCHANGED:
            continue
        inside = [one for one in written if one.startswith(name)]
        assert inside, f"{name}: the toy leaves it as it is"
        assert any("toy" in (copy / one).read_text().lower() or "toy" in one for one in inside)


@pytest.mark.parametrize("section", SECTIONS)
def test_names_of_a_checklist_are_in_its_files(section: str) -> None:
    for item in re.split(r"^- \[ \] ", SECTIONS[section], flags=re.MULTILINE)[1:]:
        files = [ROOT / path for path in named_paths(item) if (ROOT / path).is_file()]
        for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)*|__all__|[a-z]\w+)`", item):
            assert not files or any(name in path.read_text() for path in files), name


@pytest.mark.slow
def test_the_toys_work(copy: Path) -> None:
    pytest.importorskip("matplotlib")
    tests = [
        "test_toys.py",
        "test_conf.py",
        "networks/test_toy.py",
        "networks/test_network_conf.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy"]
        + [f"tests/{name}" for name in tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    # two of test_toys, four files of conf/ and the task, one of the network, four of its files
    passed = int(re.findall(r"(\d+) passed", done.stdout)[0])
    assert passed >= 11, done.stdout
