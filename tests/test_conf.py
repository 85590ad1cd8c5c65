"""The configuration composes, and says what the paper says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import amir_lightning
from amir_lightning.cli.searchpath import register_tasks
from amir_lightning.config import CONF_DIR, plain
from amir_lightning.degradation import drawn_for
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task, known_tasks, load_task, parse_tasks

SRC = Path(amir_lightning.__file__).parent
FILES = sorted(
    path
    for path in (file.relative_to(CONF_DIR) for file in CONF_DIR.rglob("*.yaml"))
    if path.parts[0] != "local"  # one machine's own settings, no part of the suite
)


def composed(*overrides: str, command: str = "train") -> DictConfig:
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(command, list(overrides))


def test_scale_paper_is_the_papers_experiment() -> None:
    cfg = composed("scale=paper")
    assert cfg.network.width == 42
    assert list(cfg.network.depths) == [5, 7, 7, 9]
    assert cfg.network.refinement_depth == 4
    assert cfg.data.patch_size == 128
    assert cfg.data.batch_size == 8
    assert cfg.trainer.max_steps == 200_000
    assert cfg.optimizer.learning_rate == 2e-4
    assert cfg.optimizer.final_learning_rate == 1e-6
    assert cfg.loss.balance_weight == 1e-3
    assert cfg.validation.every == 1000
    assert cfg.validation.slices == 32
    assert cfg.sampling.policy == "proportional"
    assert cfg.trainer.gradient_clip_val == 0
    assert cfg.data.source == "prepared"


def test_demo_is_the_default_and_small() -> None:
    cfg = composed()
    assert cfg.scale == "demo"
    assert cfg.network.width < 42
    assert cfg.task == "mri+ct+pet"


def test_the_study_has_patients_steps_and_networks_of_its_own() -> None:
    cfg = composed("scale=study")
    patients = cfg.data.phantoms
    assert (patients.train, patients.val, patients.test) == (24, 4, 12)
    assert cfg.experiment_steps == cfg.trainer.max_steps == 4000
    assert cfg.data.source == "phantoms"
    for name, node in cfg.tasks.items():  # a loop over patients would find mistakes after minutes
        task = Task.from_config(str(name), plain(node))
        found = drawn_for(instantiate(dict(task.degradation)), 0)
        noise = {"CT": "photons", "PT": "counts_per_slice"}.get(task.dicom_modality)
        assert noise is None or noise in found
    names = ("table1", "table2", "table3", "table4", "successors", "width", "figure3", "clinical")
    for name in names:
        run = composed("scale=study", f"experiment={name}")
        assert run.trainer.max_steps == 4000
        assert run.validation.every == 1000
        assert run.scored == "test"


@pytest.mark.parametrize("name", ["search_table2", "search_successors", "search_table1"])
def test_a_search_never_sees_test_patients(name: str) -> None:
    cfg = composed("scale=study", f"experiment={name}")
    assert cfg.scored == "val"
    assert cfg.trainer.max_steps == 1000


def chosen_by(path: Path) -> tuple[str, list[str]]:
    """The command, and the options, by which a user chooses a file of conf/."""
    *group, name = path.with_suffix("").parts
    if not group:
        return name, []
    if group == ["sweeps"]:
        return "plan", [f"sweeps={name}"]
    if group == ["tasks"]:
        return "train", [f"+tasks@tasks.another={name}"]
    if group in (["network", "size"], ["network", "rate"]):  # chosen by both together
        network, _, scale = name.rpartition("_")
        return "train", [f"network={network}", f"scale={scale}"]
    if group == ["measures"]:
        return "evaluate", [f"measures={name}"]
    if group == ["titles"]:
        return "tabulate", [f"titles={name}"]
    if group[0] == "experiment":
        return "train", ["experiment=" + "/".join([*group[1:], name])]
    return "train", ["/".join(group) + f"={name}"]


def values_of(path: Path) -> dict[str, object]:
    """What a file of conf/network/size or rate says, and the files that it is based on."""
    values = dict(OmegaConf.load(CONF_DIR / path))  # type: ignore[arg-type]
    bases = [
        values_of(path.with_stem(name)) for name in values.pop("defaults", []) if name != "_self_"
    ]
    return {key: value for part in [*bases, values] for key, value in part.items()}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_composes(path: Path) -> None:
    command, options = chosen_by(path)
    cfg = composed(*options, command=command)
    node = {("network", "size"): "network", ("network", "rate"): "optimizer"}.get(path.parts[:2])
    if node is not None:  # a file that nobody asks for would be ignored
        values = values_of(path)
        assert values
        assert all(cfg[node][key] == value for key, value in values.items())
    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    plain.pop("network_name", None)  # known to a running command alone
    OmegaConf.to_container(OmegaConf.create(plain), resolve=True)


def test_no_file_is_left_out() -> None:
    folders = {str(path.parent) for path in FILES}
    assert {".", "hydra/launcher", "network/size", "paths", "tasks"} <= folders
    commands = {path.stem for path in FILES if len(path.parts) == 1} - {"quiet"}
    for name in commands:
        assert (SRC / f"{name}.py").exists() or (SRC / name / "__main__.py").exists()


@pytest.mark.parametrize("name", known_tasks())
def test_task_files_build_their_physics_and_patients(name: str) -> None:
    task = load_task(name)
    assert hasattr(instantiate(dict(task.degradation)), "degrade")
    assert hasattr(instantiate(dict(task.phantom)), "sample")
    assert task.value_range[0] <= task.score_range[0] < task.score_range[1] <= task.value_range[1]


def test_paper_ranges() -> None:
    assert load_task("mri").value_range == (0, 4095)
    assert load_task("ct").value_range == (-1024, 3071)
    assert load_task("ct").score_range == (-160, 240)
    assert load_task("pet").value_range == (0, 20)
    assert load_task("mri").degradation["factor"] == 4
    assert load_task("ct").degradation["dose"] == 0.25
    assert load_task("pet").degradation["reduction"] == 12


def test_combinations_are_canonical() -> None:
    known = known_tasks()
    assert known[:3] == ["mri", "ct", "pet"]
    assert parse_tasks("pet+mri", known) == ["mri", "pet"]
    assert parse_tasks("pet + ct+mri", known) == ["mri", "ct", "pet"]
    assert parse_tasks("us+pet", [*known, "us"]) == ["pet", "us"]


@pytest.mark.parametrize("text", ["", "mri+", "mra", "mri+mri", "mri,ct"])
def test_bad_combinations_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="choose from|twice"):
        parse_tasks(text, known_tasks())


def test_a_task_needs_no_python() -> None:
    cfg = composed("+tasks@tasks.mri2=mri", "tasks.mri2.degradation.factor=2", "task=mri2")
    node = OmegaConf.to_container(cfg.tasks.mri2, resolve=True)
    assert isinstance(node, dict)
    assert Task.from_config("mri2", node).degradation["factor"] == 2


def test_task_file_with_a_missing_or_an_unknown_key_is_refused() -> None:
    node = dict(OmegaConf.to_container(OmegaConf.load(CONF_DIR / "tasks" / "ct.yaml")))  # type: ignore[arg-type]
    units = node.pop("units")
    with pytest.raises(InputError, match="has no key 'units'"):
        Task.from_config("ct", node)
    with pytest.raises(InputError, match="unknown key 'unit'"):
        Task.from_config("ct", {**node, "units": units, "unit": "HU"})
    with pytest.raises(InputError, match="increasing"):
        Task.from_config("ct", {**node, "units": units, "value_range": [3071, -1024]})


def test_no_dashboard_key_or_absolute_path_is_configured() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        text = path.read_text()
        assert "/home" not in text, path
        assert "api_key" not in text, path
    assert Path(composed().paths.runs_dir) == Path("runs")
