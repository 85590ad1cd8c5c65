"""Files from elsewhere that try to run code, to read other files or to write elsewhere."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from dicom_files import write_slice
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError
from amir_lightning.networks import SRCNN
from amir_lightning.networks.checkpoints import official
from amir_lightning.runs.folder import RunFolder, find_run
from amir_lightning.runs.record import read_json
from amir_lightning.tasks import Task, load_task
from amir_lightning.weights.folder import load_pretrained
from amir_lightning.weights.source import load_weights

TRUSTED = ["amir_lightning.networks", "lightning.pytorch.callbacks"]


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def checkpoint(path: Path, target: str, task: str, physics: dict[str, object]) -> Path:
    """A checkpoint of a tiny network, of a task that only the file knows."""
    network = SRCNN(widths=(2, 2))
    node = {key: getattr(load_task("mri"), key) for key in Task.__dataclass_fields__}
    node = {key: value for key, value in node.items() if key != "name"} | {"degradation": physics}
    content = {
        "hyper_parameters": {
            "network_config": {"_target_": target, "widths": [2, 2]},
            "tasks": {task: node},
        },
        "state_dict": {f"network.{name}": value for name, value in network.state_dict().items()},
        "global_step": 1,
    }
    torch.save(content, path)
    return path


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def touched(tmp_path: Path) -> Iterator[Path]:
    """A file that is never there."""
    yield tmp_path / "touched"
    assert not (tmp_path / "touched").exists()


def test_weights_that_are_a_program_are_not_run(tmp_path: Path, touched: Path) -> None:
    path = tmp_path / "weights.ckpt"
    for content in ({"state_dict": {}, "x": Payload(touched)}, Payload(touched)):
        for zipped in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            with pytest.raises(InputError, match="is not a readable checkpoint"):
                load_weights(str(path), tmp_path)
            with pytest.raises(InputError, match="is not a readable checkpoint"):
                official.read(path)
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(path.read_bytes())
    network = {"class": "SRCNN", "arguments": {"widths": [1, 1]}}
    config = {"format": "amir-lightning weights", "version": 1, "network": network, "tasks": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be read"):
        load_pretrained(folder)
    for name, text in (
        ("os.system", "names the class os.system, whose code would run"),
        ("restoration.Path", "whose code would run"),
        ("amir_lightning.networks.restoration_network.Path", "whose code would run"),
        ("amir_lightning.networks.AMIR.from_official", "whose code would run"),
        ("__builtins__", "which this version does not have"),
        ("build_network", "which this version does not have"),
    ):
        network["class"] = name
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=text):
            load_pretrained(folder)
    for name, text in (
        ("subprocess.run", "is not a class"),
        ("subprocess.Popen", "is no RestorationNetwork"),
        ("subprocess.os.PathLike", "which os defines"),
        ("subprocess.nothing", "cannot be imported"),
    ):
        network["class"] = name
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=text):
            load_pretrained(folder, trusted=["subprocess"])


def test_weights_cannot_name_code_or_paths(command: Command, tmp_path: Path, touched: Path) -> None:
    program = {"_target_": "os.system", "command": f"touch {touched}"}
    nifti(tmp_path / "in.nii")
    restore = ["input=in.nii", "output=out", "degrade=true", "force_units=true"]
    path = checkpoint(tmp_path / "a.ckpt", "os.system", "mri", {})
    done = command("restore", f"weights={path}", *restore)
    assert done.status == 2
    assert "names the class os.system, whose code would run" in done.err
    path = checkpoint(tmp_path / "b.ckpt", "amir_lightning.networks.SRCNN", "mine", program)
    for options in ([], ["trusted=[amir_lightning,lightning]"]):
        done = command("restore", f"weights={path}", *restore, *options)
        assert done.status == 2
        assert "names the class os.system, whose code would run" in done.err
        assert "trusted=[" in done.err
    path = checkpoint(tmp_path / "c.ckpt", "amir_lightning.networks.SRCNN", "../../x", {})
    done = command("restore", f"weights={path}", *restore)
    assert done.status == 2
    assert "a task is named '../../x'" in done.err
    assert not (tmp_path / "out").exists()


def test_a_trusted_module_of_ones_own_may_be_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_physics.py").write_text(
        "from amir_lightning.degradation import KSpaceCrop\nclass Mine(KSpaceCrop):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    nifti(tmp_path / "in.nii")
    physics = {**load_task("mri").degradation, "_target_": "my_physics.Mine"}
    path = checkpoint(tmp_path / "a.ckpt", "amir_lightning.networks.SRCNN", "mine", physics)
    options = [f"weights={path}", "input=in.nii", "output=out", "degrade=true", "force_units=true"]
    options += ["trainer.accelerator=cpu"]
    assert "trusted=[amir_lightning.degradation,my_physics]" in command("restore", *options).err
    done = command("restore", *options, "trusted=[amir_lightning.degradation,my_physics]")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    "text",
    [
        "network: {_target_: os.system}",
        '"_target_": os.system',
        '{"_target_" : "os.system"}',
        '"\\x5ftarget_": os.system',
        "? _target_\n: os.system",
        "_target_: |\n  os.system",
        "_target_: [os.system]",
        "callbacks: [[{deep: {_target_: subprocess.Popen}}]]",
        "name: os.system\n_target_: ${name}",
        "network: ${oc.create:{_target_:os.system}}",
        "_target_: amir_lightning.networks",
        "_target_: amir_lightning.networks.no_such_thing",
        "_target_: amir_lightning.networks.amir.torch.hub.load",
        "_target_: amir_lightning.networks.amir.nn.Linear",
        "_target_: amir_lightning.networks.validate.InputError",
        "_target_: amir_lightning.networks.AMIR.from_official",
        "_target_: amir_lightning.networks.AMIR.__class__",
        "_target_: amir_lightning.networks_of_mine.AMIR",
    ],
)
def test_a_run_folder_names_classes_of_trusted_modules_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"names the class|has the interpolation"):
        RunFolder(tmp_path).config(TRUSTED)


@pytest.mark.parametrize("command_name", ["train", "evaluate", "draw"])
def test_no_part_of_a_run_folder_is_a_logger(tmp_path: Path, command_name: str) -> None:
    """A logger may connect to any server; evaluating and drawing build none."""
    trusted = list(OmegaConf.load(CONF_DIR / f"{command_name}.yaml").trusted)
    logger = "{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: elsewhere}"
    for text in (
        f"network: {logger}",
        f"network: {{_target_: amir_lightning.networks.AMIR, width: {logger}}}",
        f"callbacks: {{mine: {logger}}}",
        f"profiler: {logger}",
        f"optimizer: {{algorithm: {logger}}}",
        "network: {_target_: torch.optim.SGD}",
    ):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"names the class (lightning|torch)\."):
            RunFolder(tmp_path).config(trusted)
    text = f"optimizer: {{algorithm: {{_target_: torch.optim.SGD}}}}\nlogger: {logger}\n"
    (tmp_path / "config.yaml").write_text(text)
    assert list(RunFolder(tmp_path).config(trusted)) == ["optimizer"]


def test_what_is_in_a_trusted_module_is_taken(tmp_path: Path) -> None:
    for name in ("amir_lightning.networks.AMIR", "lightning.pytorch.callbacks.EarlyStopping"):
        (tmp_path / "config.yaml").write_text(f"node: {{_target_: {name}}}")
        assert RunFolder(tmp_path).config(TRUSTED).node["_target_"] == name


def test_yaml_is_data(tmp_path: Path, touched: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    for text in [
        f"x: !!python/object/apply:os.system ['touch {touched}']",
        "x: !!python/name:os.system",
        f"x: !!python/object/new:pathlib.Path ['{touched}']",
        "x: !foreign {a: 1}",
        bomb,
    ]:
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            RunFolder(tmp_path).config(TRUSTED)


def nifti(path: Path) -> None:
    import nibabel as nib

    voxels = np.random.default_rng(0).uniform(0, 900, (32, 32, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), path)


def test_names_in_dicom_headers_are_no_paths(command: Command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    source = home / "in" / "series"
    rng = np.random.default_rng(0)
    for number in range(4):
        write_slice(
            source / f"{number}.dcm",
            rng.integers(24, 1924, (32, 32)).astype(np.uint16),
            (0.0, 0.0, 5.0 * number),
            PixelSpacing=[1, 1],
            PatientID="../../../escaped",
            PatientName="../../../escaped",
            SeriesInstanceUID="../../../escaped",
            SOPInstanceUID=f"/../../../escaped{number}",
            StudyInstanceUID="../../../escaped",
            SeriesDescription=str(tmp_path / "escaped"),
        )
    physics = dict(load_task("ct").degradation)
    path = checkpoint(tmp_path / "a.ckpt", "amir_lightning.networks.SRCNN", "ct", physics)
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["tasks"]["ct"] |= {
        "dicom_modality": "CT",
        "units": "HU",
        "value_range": (-1000.0, 2000.0),
        "plausible": None,
    }
    torch.save(content, path)
    before = files(tmp_path)
    for number, options in enumerate([[], ["format=nifti"]]):
        output = home / "out" / str(number)
        done = command(
            "restore", f"weights={path}", f"input={source}", f"output={output}", *options,
            "trainer.accelerator=cpu",
        )  # fmt: skip
        assert done.status == 0, done.err
    done = command(
        "prepare", "task=ct", f"raw_dir={source.parent}", f"output={home / 'out' / 'ct.h5'}",
        "jobs=1", "backend=threading", "dataset=folder", "force_units=true", "gap=0",
    )  # fmt: skip
    assert done.status == 0, done.err
    new = files(tmp_path) - before
    assert {path.relative_to(home / "out").parts[0] for path in new} >= {"0", "1", "ct.h5"}
    assert not any("escaped" in str(path) for path in tmp_path.rglob("*"))


PLAIN = "amir_lightning.networks.SRCNN"


def test_a_checkpoint_that_unfolds_is_refused_packed(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "packed.ckpt", PLAIN, "mri", {})
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    for read in (lambda: load_weights(str(path), tmp_path), lambda: official.read(path)):
        with pytest.raises(InputError, match="has compressed parts"):
            read()


@pytest.mark.parametrize("widths", [[2, 2**40], [2**20, 2**20]])
def test_a_network_larger_than_its_file_is_not_built(tmp_path: Path, widths: list[int]) -> None:
    path = checkpoint(tmp_path / "small.ckpt", PLAIN, "mri", {})
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["network_config"]["widths"] = widths
    torch.save(content, path)
    with pytest.raises(InputError, match="larger SRCNN than its file of"):
        load_weights(str(path), tmp_path)


@pytest.mark.parametrize("text", ["[1]", "[" * 100_000, '{"a": 1'])
def test_a_damaged_record_is_never_the_newest_run(tmp_path: Path, text: str) -> None:
    for name, content in (("whole", '{"started": "2026-01-01"}'), ("evil", text)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    assert find_run("last", tmp_path).name == "whole"
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "evil" / "run.json")


def test_a_weights_folder_without_weights_is_named(tmp_path: Path) -> None:
    network = {"class": "SRCNN", "arguments": {"widths": [2, 2]}}
    config = {"format": "amir-lightning weights", "version": 1, "network": network, "tasks": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_pretrained(tmp_path)
