"""What a user adds in a folder of their own is found like what comes with the package."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import Command
from own_folder import OPTIONS, write_own

from amir_lightning import __main__
from amir_lightning.cli.searchpath import in_order
from amir_lightning.errors import InputError
from amir_lightning.system import versions
from amir_lightning.tasks import Task
from amir_lightning.weights.folder import load_pretrained


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, in which `command` runs."""
    write_own(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


def first_error(err: str) -> str:
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    assert len(sentence) < 900
    return sentence


FOLDERS = [["--config-dir", "my"], ["--config-path", "my"], ["hydra.searchpath=[my]"]]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder[0])
def test_every_command_finds_the_users_files(
    folder: list[str], mine: Path, command: Command
) -> None:
    done = command("prepare", "task=us", *folder, "raw_dir=nowhere")
    assert "raw_dir=nowhere does not exist" in done.err
    for name in ("prepare", "train", "contact_sheet"):
        done = command(name, *folder, "task=usa", *["raw_dir=nowhere"][: name == "prepare"])
        assert "unknown task 'usa'; choose from mri, ct, pet, " in done.err
        assert ", us and join" in done.err
    assert ", small, spach, " in command("train", *folder, "network=smal").err
    typed = [str(mine / "my") if word == "my" else word for word in folder]
    for name, *options in (["plan"], ["tabulate"], ["draw", "draw=curves"]):
        done = command(name, *folder, *options, "experiment=min")
        assert "unknown experiment 'min'; choose from clinical, " in done.err
        assert ", mine, " in done.err
        done = command(name, *folder, *options, "experiment=mine", "network=smal")
        assert ", small, spach, " in done.err
        done = command(name, *folder, *options, "experiment=mine", "seed=0,1")
        start = (done.err + done.out).split("amir_lightning.train -m ")[1]
        assert start.replace("'", "").startswith(" ".join([*typed, "experiment=mine"]))
        assert name != "plan" or "jobs  2: 2 new" in done.out


def test_sizes_and_flags_between_options(mine: Path, command: Command) -> None:
    done = command("train", "network=small", "--config-dir", "my", "task=us", "--cfg", "job")
    assert done.status == 0, done.err
    assert "_target_: my_networks.Small\n  width: 4\n" in done.out
    assert in_order(["a=1", "-m", "b=2", "--config-dir=my", "~c"]) == [
        "-m",
        "--config-dir=my",
        "a=1",
        "b=2",
        "~c",
    ]


def test_a_run_with_an_own_task_needs_no_folder_again(mine: Path, command: Command) -> None:
    own = ["--config-dir", "my", "task=mri+us", "network=small"]
    done = command("train", *own, *OPTIONS)
    assert done.status == 0, done.err
    assert "python -m amir_lightning.prepare --config-dir " in done.err
    (folder,) = [path.parent for path in (mine / "runs").glob("*/run.json")]
    assert folder.name.startswith("mri+us-small-demo-s0-")
    nib.save(nib.Nifti1Image(np.full((41, 33, 2), 700.0, np.float32), np.eye(4)), "scan.nii")
    restore = ["task=us", "input=scan.nii", "trainer.accelerator=cpu", "degrade=true"]
    for name, *options in (
        ["train", "run=last"],
        ["evaluate", "run=last"],
        ["export", "run=last", "output=exported"],
        ["restore", "weights=last", *restore, "output=restored"],
        ["restore", "weights=exported", *restore, "output=restored-again"],
    ):
        refused = command(name, *options)
        assert refused.status == 2, name
        sentence = first_error(refused.err)
        assert "names the class my_networks.Small, whose code would run" in sentence
        done = command(name, *options, sentence.split("type ")[-1])
        assert done.status == 0, done.err
    assert "trusted=['my_networks']" in command("export", "run=last", "output=b", MINE).out
    one, two = (
        next(Path(name).rglob("*restored*.nii*")) for name in ("restored", "restored-again")
    )
    assert np.array_equal(nib.load(one).get_fdata(), nib.load(two).get_fdata())

    with pytest.raises(InputError, match=r"type trusted=\[my_networks\]"):
        load_pretrained("exported")
    restorer = load_pretrained("exported", trusted=["my_networks"])
    assert list(restorer.tasks) == ["mri", "us"]
    assert 'trusted=["my_networks"]' in Path("exported/README.md").read_text()


MINE = "trusted=[amir_lightning.networks,my_networks]"


def test_the_workspace_shows_own_tasks(
    mine: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = pytest.importorskip("amir_lightning.dashboard.workspace")
    shown: list[str] = []

    def build(project: str, entity: str, tasks: list[Task]) -> None:
        shown.extend(task.title for task in tasks)

    monkeypatch.setattr(workspace, "build_workspace", build)
    monkeypatch.setattr(workspace, "publish", lambda built: "somewhere")
    done = command("dashboard", "--config-dir", "my", "publish=true")
    assert done.status == 0, done.err
    assert shown[:3] == ["MRI Super-Resolution", "CT Denoising", "PET Synthesis"]
    assert shown[-1] == "Ultrasound"


def test_a_network_that_is_gone_is_named_with_the_file_to_look_for(
    mine: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", "--config-dir", "my", "task=us", "network=small", *OPTIONS]
    assert command(*train).status == 0
    (mine / "my_networks.py").rename(mine / "elsewhere.txt")
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    sentence = first_error(command("restore", "weights=last", "input=x", "output=y", MINE).err)
    assert "cannot be imported (No module named 'my_networks')" in sentence
    assert "the folder that holds my_networks.py" in sentence
    sentence = first_error(command(*train, "seed=1").err)
    assert "_target_ is my_networks.Small, which cannot be imported" in sentence


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--config-dir", "your"], "--config-dir your is not a folder; expected one with groups"),
        (["--config-path", "your"], "your is not a folder; expected one with groups"),
        (["hydra.searchpath=[my,your]"], "hydra.searchpath names your, which is not a folder"),
        (["--config-dri", "my"], "there is no flag --config-dri; --hydra-help lists"),
        (["network=small", "network._target_=my_networks.Smal"], "No module named 'my_networks.S"),
        (
            ["network=small", "network._target_=my_networks.Other", "~network.width"],
            "a subclass of",
        ),
    ],
)
def test_a_wrong_folder_or_class_is_one_sentence(
    options: list[str], text: str, mine: Path, command: Command
) -> None:
    folder = [] if "-" in options[0] or "searchpath" in options[0] else ["--config-dir", "my"]
    tasks = [] if not folder else ["task=us", *OPTIONS]
    done = command("train", *folder, *options, *tasks)
    assert done.status == 2
    assert text in first_error(done.err)
    assert not list(mine.glob("runs/*/run.json"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("degradation: null", "task us: degradation is None, expected a class and its arguments"),
        ("degradation: {_target_: null}", "write _target_: <module>.<class> below degradation:"),
        ("phantom: 3", "task us: phantom is 3, expected a class"),
        ("plane: oblique", "expected one of axial, coronal, sagittal; write plane: axial into"),
        ("value_range: 5", "task us: value_range is 5, expected two numbers"),
        ("score_range: [low, high]", "task us: score_range has low, expected a number"),
        ("error_window: wide", "task us: error_window has wide, expected a number"),
        ("units: [", "is not valid YAML: "),
    ],
)
def test_a_mistake_in_an_own_task_is_one_sentence(
    change: str, text: str, mine: Path, command: Command
) -> None:
    path = mine / "my" / "tasks" / "us.yaml"
    path.write_text(path.read_text() + change + "\n")
    for name, *options in (["train"], ["prepare", "raw_dir=my"]):
        done = command(name, "--config-dir", "my", "task=us", *options)
        assert done.status == 2
        assert text in first_error(done.err)


def test_an_own_task_without_a_degradation_is_told_and_spares_the_others(
    mine: Path, command: Command
) -> None:
    node = "title: Ultrasound\nunits: a.u.\n"
    (mine / "my" / "tasks" / "us.yaml").write_text(node)
    done = command("prepare", "--config-dir", "my", "task=us", "raw_dir=my")
    sentence = first_error(done.err)
    assert "task us has no key 'value_range'; a task has exactly title, units, " in sentence
    assert "mri.yaml" in sentence
    options = ["--config-dir", "my", "weights=last", "input=x", "output=y"]
    assert "there is no run in runs" in command("restore", *options).err


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_a_commit_is_that_of_the_packages_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, site = (tmp_path / name / "amir_lightning" for name in ("src", "env/site-packages"))
    for package in (checkout, site):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(versions, "__file__", str(checkout / "system" / "versions.py"))
    assert versions.commit_of_checkout() is None  # untracked
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all of it")
    commit = versions.commit_of_checkout()
    assert commit is not None
    assert len(commit) == 40
    (checkout / "__init__.py").write_text("# changed")
    assert versions.commit_of_checkout() == f"{commit}+changes"
    monkeypatch.setattr(versions, "__file__", str(site / "system" / "versions.py"))
    assert versions.commit_of_checkout() is None  # an installed copy, though tracked


def test_the_program_lists_its_commands_and_suggests_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amir"])
    __main__.main()
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[2:])
    source = Path(__main__.__file__).parent
    found = [path for path in source.rglob("*.py") if "\n@command(" in path.read_text()]
    commands = {path.parent.name if path.stem == "__main__" else path.stem for path in found}
    assert set(listed) == commands
    assert not [text for text in listed.values() if "python -m" in text or len(text) > 80]
    monkeypatch.setattr(sys, "argv", ["amir", "trian", "task=us"])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 2
    assert "unknown command 'trian'; did you mean 'train'?" in capsys.readouterr().err


def test_the_help_names_the_command(command: Command) -> None:
    done = command("evaluate", "--help")
    assert done.out.startswith("amir evaluate: options are written name=value")
    assert "cli" not in done.out.splitlines()[0]
