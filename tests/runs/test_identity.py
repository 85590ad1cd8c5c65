"""A run is what its name says: whatever may change a number is part of its identity."""

import importlib
import inspect
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import lightning.pytorch as pl
import pytest
import torch
from conftest import TINY, Command
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

from amir_lightning.cli import typed
from amir_lightning.cli.searchpath import register_tasks
from amir_lightning.config import CONF_DIR
from amir_lightning.data import embedded
from amir_lightning.data.embedded import Cohort, cache_name, recipe
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder, folder_of
from amir_lightning.runs.identity import (
    ADDED,
    BATCH_STATISTICS,
    NOT_COUNTED,
    counts,
    digest,
    identity,
    network_name,
    number_of_processes,
    run_names,
)
from amir_lightning.tasks import Plane, Task, parse_tasks

GOLDEN = Path(__file__).parent / "golden_names.txt"


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration of ``train <overrides>`` as plain types."""
    GlobalHydra.instance().clear()
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    choice = cfg.hydra.runtime.choices.network
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    cfg.network_name = network_name(choice, cfg.network, overrides)
    cfg.pop("hydra")
    cfg.task = "+".join(parse_tasks(cfg.task, cfg.tasks))
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def identified(config: Mapping[str, Any], prepared: str | None = None) -> dict[str, Any]:
    """The identity on phantoms, or on prepared data of a fingerprint."""
    names = config["task"].split("+")
    data: dict[str, dict[str, Any]] = {}
    for name in names:
        task = Task.from_config(name, config["tasks"][name])
        drawn = None if prepared else recipe(task, Cohort(**config["data"]["phantoms"]))
        data[name] = {"fingerprint": prepared or "0" * 64, "drawn": drawn}
    return identity(config, names, data, number_of_processes(config))


def name_of(*overrides: str) -> str:
    return run_names(identified(composed(*overrides)))[0]


def leaves(node: object, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or not node:
        return {prefix: node}
    return {
        option: value
        for key, below in node.items()
        for option, value in leaves(below, f"{prefix}.{key}" if prefix else key).items()
    }


def other(value: object) -> object:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*map(other, value)] if value else [1]
    if value in get_args(Plane):
        return next(plane for plane in get_args(Plane) if plane != value)
    return f"{value}x"


def changed(config: Mapping[str, Any], option: str) -> dict[str, Any]:
    copy = json.loads(json.dumps(config))
    node = copy
    *parents, last = option.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = other(node[last])
    return copy


# Of these another value of the same kind makes no configuration; they are tested by themselves.
UNCHANGED = {"task", "network.pretrained"}
COMMANDS = (
    (),
    ("loss=adversarial", "network=argan"),
    ("network=airnet", "sampling=temperature"),
    ("callbacks=interference", "trainer=ddp_sim"),
    ("scale=paper", "data.source=phantoms"),
    ("experiment=table2",),
)


@pytest.mark.parametrize("prepared", [None, "f" * 64])
@pytest.mark.parametrize("overrides", COMMANDS)
def test_every_option_is_counted_or_on_the_list(
    overrides: tuple[str, ...], prepared: str | None
) -> None:
    config = composed(*overrides)
    config["tasks"] = {name: config["tasks"][name] for name in config["task"].split("+")}
    own = digest(identified(config, prepared))
    for option in set(leaves(config)) - UNCHANGED:
        if option.split(".")[0] == "callbacks" and not option.endswith("_target_"):
            continue  # of observers, see below
        if option in ("trainer.devices", "data.batch_size", "trainer.num_nodes"):
            continue  # counted as their product, see below
        differs = digest(identified(changed(config, option), prepared)) != own
        draws = option.startswith(("data.phantoms.", "tasks.")) and "phantom" in option
        if draws:
            assert differs == (prepared is None), option
        else:
            assert differs == counts(option), option


def test_every_exception_exists_and_has_its_reason() -> None:
    config = composed("task=mri", "callbacks=interference")
    options = leaves({**config, "tasks": {"mri": config["tasks"]["mri"]}})
    for pattern, reason in NOT_COUNTED.items():
        wanted = pattern.replace("*", "mri")
        assert any(option == wanted or option.startswith(f"{wanted}.") for option in options)
        assert len(reason) > 5, pattern


@pytest.mark.parametrize("option", sorted(inspect.signature(pl.Trainer).parameters))
def test_every_option_of_lightnings_trainer_is_counted_or_on_the_list(option: str) -> None:
    one = composed("task=mri", "data.batch_size=2")
    config = composed("task=mri", "data.batch_size=2")
    config["trainer"][option] = "anything"
    if option in ("devices", "num_nodes"):
        config["trainer"][option] = 2
        config["data"]["batch_size"] = 1  # of two processes, as 2 of one
    differs = digest(identified(config)) != digest(identified(one))
    assert differs == counts(f"trainer.{option}")


def test_what_may_be_added_is_another_run() -> None:
    early = "lightning.pytorch.callbacks.EarlyStopping"
    averaged = "lightning.pytorch.callbacks.StochasticWeightAveraging"
    commands = [
        ["task=mri"],
        ["task=mri", "+trainer.limit_train_batches=1"],
        ["task=mri", "+trainer.limit_train_batches=2"],
        ["task=mri", "+trainer.overfit_batches=1"],
        ["task=mri", "trainer.gradient_clip_val=1"],
        ["task=mri", "trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"],
        ["task=mri", f"+callbacks.stop._target_={early}", "+callbacks.stop.monitor=val/avg/psnr"],
        ["task=mri", f"+callbacks.swa._target_={averaged}", "+callbacks.swa.swa_lrs=0.001"],
        ["task=mri", f"+callbacks.swa._target_={averaged}", "+callbacks.swa.swa_lrs=0.01"],
        ["task=mri", "callbacks.samples._target_=mine.Samples"],
        ["task=mri", "+callbacks.mine=3"],
        ["task=mri", "trainer.strategy=mine"],
        ["task=mri", "network=restormer"],
        ["task=mri", "network._target_=mine.Network"],
        ["task=mri", "+network.mine=1"],
        ["task=mri", "+loss.mine=1"],
        ["task=mri", "+optimizer.mine=1"],
        ["task=mri", "+data.mine=1"],
        ["task=mri", "+tasks.mri.mine=1"],
        ["task=mri", "+mine=1"],
        ["task=mri2x", "+tasks@tasks.mri2x=mri"],
        ["task=mri2x", "+tasks@tasks.mri2x=mri", "tasks.mri2x.value_range=[0,1]"],
        ["task=mri2x", "+tasks@tasks.mri2x=mri", "tasks.mri2x.degradation.factor=2"],
        ["task=mri+ct"],
    ]
    found: dict[str, list[str]] = {}
    for options in commands:
        config = composed(*options)
        for task in config["tasks"].values():
            task.pop("mine", None) if "+tasks.mri.mine=1" not in options else None
        names = config["task"].split("+")
        data = {name: {"fingerprint": "0", "drawn": None} for name in names}
        text = digest(identity(config, names, data, 1))
        assert text not in found, (found[text], options)
        found[text] = options


def test_the_observers_of_conf_are_not_counted_whatever_they_show() -> None:
    own = name_of("task=mri")
    for options in (
        ["callbacks.samples.per_task=9"],
        ["callbacks=interference"],
        ["~callbacks.routing"],
    ):
        assert name_of("task=mri", *options) == own, options


def test_processes_share_one_batch() -> None:
    own = name_of("data.batch_size=6")
    assert name_of("trainer=ddp_sim", "data.batch_size=3") == own
    assert name_of("trainer=ddp", "trainer.devices=3", "data.batch_size=2") == own
    assert name_of("trainer=ddp", "trainer.devices=[0,1,2]", "data.batch_size=2") == own
    assert name_of("trainer=ddp_sim", "data.batch_size=6") != own
    assert name_of("trainer=ddp_sim", "trainer.num_nodes=2", "data.batch_size=3") != own


@pytest.mark.parametrize(
    "options",
    [
        ["network=airnet"],
        ["network=argan"],
        ["loss.global_balance=false"],
        ["network._target_=m.N"],
    ],
)
def test_processes_count_where_a_part_of_the_step_is_of_each_alone(options: list[str]) -> None:
    one, two = ["data.batch_size=6"], ["trainer=ddp_sim", "data.batch_size=3"]
    assert name_of(*options, *one) != name_of(*options, *two)


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (CONF_DIR / "network").glob("*.yaml"))
)
def test_networks_that_normalise_over_the_batch_are_known(name: str) -> None:
    config = composed(f"network={name}")["network"]
    del config["pretrained"]
    found = any(
        isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for module in instantiate(config).modules()
    )
    assert found == (config["_target_"] in BATCH_STATISTICS)


def test_tasks_that_are_not_trained_and_the_way_a_number_is_written_make_no_difference() -> None:
    own = name_of("task=mri")
    assert name_of("task=mri", "tasks.ct.degradation.dose=0.1") == own
    assert name_of("task=mri", "optimizer.learning_rate=0.002") == own
    assert name_of("task=mri", "trainer.gradient_clip_val=0") == own


def test_weights_to_start_from_are_known_by_content(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (name_of("task=mri", f"network.pretrained={tmp_path / name}") for name in "abc")
    assert a == b != c
    assert a != name_of("task=mri")


def test_code_of_ones_own_is_known_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    options = ("task=mri", "network._target_=own_networks.Net")
    names = set()
    for text in ("class Net: ...", "class Net: width = 1", "class Net: ..."):
        (tmp_path / "own_networks.py").write_text(text)
        importlib.invalidate_caches()
        names.add(name_of(*options))
    assert len(names) == 2
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "own_networks.py").rename(moved / "own_networks.py")
    monkeypatch.syspath_prepend(moved)
    importlib.invalidate_caches()
    assert name_of(*options) in names


@pytest.mark.parametrize(
    "network",
    [
        {"_target_": "own_package.Net"},  # which the package has from a module of its own
        {"_target_": "own_package.nets.Net.wide"},
        {"_target_": "amir_lightning.networks.AMIR", "blocks": [{"_target_": "own_package.Net"}]},
    ],
)
@pytest.mark.parametrize("edited", ["own_package/nets.py", "own_layers.py"])
def test_all_modules_of_ones_own_behind_a_class_count_and_none_is_run(
    network: dict[str, Any], edited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    never = "raise RuntimeError\n"
    for name, text in {
        "own_package/__init__.py": "from .nets import Net",
        "own_package/nets.py": "import torch\nfrom own_layers import Layer\nclass Net(Layer): ...",
        "own_layers.py": "import own_package.nets\nclass Layer: ...",
        "own_other.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(never + text)
    config = {**composed("task=mri"), "network": {**network, "pretrained": None}}
    before = digest(identified(config))
    (tmp_path / "own_other.py").write_text("changed")
    assert digest(identified(config)) == before
    (tmp_path / edited).write_text((tmp_path / edited).read_text() + "# changed")
    assert digest(identified(config)) != before


@pytest.mark.parametrize("node", ["phantom", "degradation"])
def test_phantoms_that_code_of_ones_own_draws_are_drawn_anew_when_it_changes(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    config = composed("task=mri", f"tasks.mri.{node}._target_=own_physics.Own")
    task = Task.from_config("mri", config["tasks"]["mri"])
    files, names = set(), set()
    for text in ("class Own: ...", "class Own: dose = 1"):
        (tmp_path / "own_physics.py").write_text(text)
        files.add(cache_name("mri", recipe(task, Cohort(1, 1, 1))))
        names.add(digest(identified(config)))
    assert len(files) == len(names) == 2


def test_data_are_known_by_content_and_phantoms_by_what_draws_them() -> None:
    config = composed("task=mri")
    task = Task.from_config("mri", config["tasks"]["mri"])
    drawn = recipe(task, Cohort(**config["data"]["phantoms"]))

    def text(**facts: Any) -> str:
        return digest(identity(config, ["mri"], {"mri": {"drawn": None, **facts}}, 1))

    assert text(fingerprint="a", drawn=drawn) == text(fingerprint="b", drawn=drawn)
    assert text(fingerprint="a", drawn={**drawn, "version": 0}) != text(
        fingerprint="a", drawn=drawn
    )
    assert text(fingerprint="a") != text(fingerprint="b")
    assert text(fingerprint="a") != text(fingerprint="a", drawn=drawn)
    read_back = json.loads(json.dumps(drawn))
    assert text(fingerprint="a", drawn=drawn) == text(fingerprint="a", drawn=read_back)


def test_options_that_are_added_or_moved_later_leave_names_as_they_are() -> None:
    config, data = composed("task=mri"), {"mri": {"fingerprint": "0", "drawn": None}}

    def text(config: Mapping[str, Any], **history: Any) -> str:
        return digest(identity(config, ["mri"], data, 1, **history))

    own = text(config)
    added = json.loads(json.dumps(config))
    added["optimizer"]["ema"] = None
    added["loss"] |= {"edge": {"weight": 0.0}}
    history = {"added": {**ADDED, "optimizer.ema": None, "loss.edge.weight": 0}}
    assert text(added) != own
    assert text(added, **history) == own
    added["optimizer"]["ema"] = 0.9
    assert text(added, **history) != own

    moved = json.loads(json.dumps(config))
    moved["optimizer"]["rates"] = {"first": moved["optimizer"].pop("learning_rate")}
    moved["steps"] = moved.pop("validation")
    moved["network"]["_target_"] = "amir_lightning.networks.elsewhere.AMIR"
    history = {
        "moved": {"optimizer.rates.first": "optimizer.learning_rate", "steps": "validation"},
        "moved_classes": {"amir_lightning.networks.elsewhere.AMIR": "amir_lightning.networks.AMIR"},
    }
    assert text(moved) != own
    assert text(moved, **history) == own
    moved["optimizer"]["rates"]["first"] = 1.0
    assert text(moved, **history) != own


# The golden names are of runs on phantoms of version 2, with the defaults of that time.
THEN = ("tasks.mri.degradation.noise=12.0", "~tasks.mri.phantom.slice_mm")
DEMO = (
    "tasks.mri.phantom.num_slices=100",
    "tasks.ct.phantom.num_slices=64",
    "tasks.ct.phantom_slices=12",
    "data.patch_size=48",
    "data.batch_size=6",
    "optimizer.learning_rate=3e-3",
    "optimizer.betas=[0.9,0.999]",
    "optimizer.average_decay=null",
)
STEPS = ("trainer.max_steps=1200", "validation.every=300")
SIZES = {"network=ctformer": "network.tile=48", "network=spach": "network.position_size=12"}


@pytest.mark.parametrize("line", GOLDEN.read_text().splitlines())
def test_names_stay(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes loses its run: put the option into ADDED, MOVED or MOVED_CLASSES."""
    monkeypatch.setattr(embedded, "_VERSION", 2)
    name, *options = line.split()
    then = [*THEN]
    if "scale=paper" not in options:
        then += [*DEMO, *(SIZES[one] for one in options if one in SIZES)]
        then += ["network.refinement_depth=1"] if re.search("-(amir|resto)", name) else []
        then += STEPS if "experiment=table2" not in options else ()
    copies = [one.replace("mri", "mri2x") for one in then if "mri" in one and "mri2x" in name]
    assert name_of(*then, *options, *copies) == name


def test_a_network_that_was_typed_as_a_class_is_named_by_it() -> None:
    assert name_of("task=mri", "network._target_=mine.Net").startswith("mri-Net-demo-s0-")
    assert name_of("task=mri", "network=vdsr").startswith("mri-vdsr-demo-s0-")


def test_a_folder_is_taken_only_if_the_whole_identity_is_equal(tmp_path: Path) -> None:
    own = identified(composed("task=mri"))
    folder = folder_of(own, tmp_path)
    assert folder.name == run_names(own)[0]

    def write(path: Path, record: Mapping[str, Any]) -> None:
        path.mkdir(exist_ok=True)
        (path / "run.json").write_text(json.dumps(record))

    write(folder.path, {"identity": own})
    assert folder_of(own, tmp_path) == folder
    for record in ({"identity": {**own, "seed": 1}}, {"identity": None}, {}):
        write(folder.path, record)
        longer = folder_of(own, tmp_path)
        assert longer.name.startswith(folder.name)
        assert len(longer.name) == len(folder.name) + 8
    write(longer.path, {"identity": own})
    assert folder_of(own, tmp_path) == longer

    write(folder.path, {"identity": own})
    folder.record_file.unlink()
    assert folder_of(own, tmp_path) == longer
    longer.record_file.unlink()
    assert folder_of(own, tmp_path) == folder  # an empty one
    for lost in ("checkpoints", "result.json"):
        (folder.path / lost).mkdir()
        with pytest.raises(InputError, match=r"run\.json cannot be read .* remove the folder"):
            folder_of(own, tmp_path)
        (folder.path / lost).rmdir()


@pytest.mark.parametrize("name", ["runs", "my runs", "it's (2)", "a=b,c", "$HOME", "2024_03_05"])
def test_what_is_printed_for_run_can_be_pasted(tmp_path: Path, name: str) -> None:
    run = RunFolder(Path(name) / "mri-amir-demo-s0-1")
    (word,) = shlex.split(f"run={run.typed}")
    assert word == f"run={run.name if name == 'runs' else run.path}"
    run = RunFolder(tmp_path / name / "one")
    run.path.mkdir(parents=True)
    (argument,) = typed.as_typed(shlex.split(f"run={run.typed}"), "evaluate")
    assert OverridesParser.create().parse_override(argument).value() == str(run.path)


def test_a_checkpoint_of_another_run_does_not_pass_for_ones_own(tmp_path: Path) -> None:
    one, two = (RunFolder(tmp_path / name) for name in ("one", "two"))
    for run in (one, two):
        run.path.joinpath("checkpoints").mkdir(parents=True)
        run.record_file.write_text("{}")
    own = str(two.path / "checkpoints" / "last.ckpt")
    assert two.checkpoint(own) == two.checkpoint("last") == Path(own)
    assert two.checkpoint("saved.ckpt") == Path("saved.ckpt")
    with pytest.raises(InputError, match=r"is of another run than one; type run=.*two$"):
        one.checkpoint(own)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


# What shows that an exception of the list changes no number. The machine's own are shown where
# several processes train; `test_train` shows that compiling changes the rounding alone.
ELSEWHERE = {"run", "compile", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"}
NO_DIFFERENCE = {
    "paths": "paths.runs_dir=other",
    "logger": "logger=tensorboard",
    "profiler": "profiler=simple",
    "trusted": "trusted=[amir_lightning]",
    "checkpoint.every": "checkpoint.every=1",
    "on_nan": "on_nan=skip",
    "recompute": "recompute=2",
    "experiment_steps": "experiment_steps=9",
    "experiment_validation": "experiment_validation=9",
    "experiment_task_steps": "experiment_task_steps.two=9",
    "data.source": "data.source=phantoms",
    "data.phantoms": "data.phantoms.seed=0",
    "data.batch_size": "data.batch_size=4",
    "data.num_workers": "data.num_workers=1",
    "tasks.*.title": "tasks.mri.title=other",
    "tasks.*.display_window": "tasks.mri.display_window=[0,1]",
    "tasks.*.error_window": "tasks.mri.error_window=1",
    "tasks.*.dicom_modality": "tasks.mri.dicom_modality=XX",
    "tasks.*.plausible": "tasks.mri.plausible=null",
    "tasks.*.measured": "tasks.mri.measured=false",
    "tasks.*.phantom": "tasks.mri.phantom.size=64",
    "tasks.*.phantom_slices": "tasks.mri.phantom_slices=2",
    "trainer.log_every_n_steps": "trainer.log_every_n_steps=3",
}


def test_what_is_not_counted_changes_no_number(train: Command) -> None:
    assert {*NO_DIFFERENCE, *ELSEWHERE} == set(NOT_COUNTED)
    assert train("task=mri+ct").status == 0
    monitor = "lightning.pytorch.callbacks.LearningRateMonitor"
    observers = [
        "callbacks=interference",
        "callbacks.interference.every=2",
        "callbacks.interference.batches=2",
        f"+callbacks.rate._target_={monitor}",
        "callbacks.samples.per_task=2",
    ]
    done = train("task=mri+ct", *NO_DIFFERENCE.values(), *observers)
    assert done.status == 0, done.err
    assert "finished before" not in done.err
    (one,), (two,) = (list(Path(runs).glob("mri+ct-*")) for runs in ("runs", "other"))
    assert one.name == two.name
    assert RunFolder(one).identity == RunFolder(two).identity
    first, second = weights(one), weights(two)
    assert all(torch.equal(first[name], second[name]) for name in first)
    scores = [path / "evaluation" / "test" / "slices.csv" for path in (one, two)]
    assert scores[0].read_text() == scores[1].read_text()


def test_two_trainings_never_share_a_folder(train: Command, command: Command) -> None:
    assert train("task=mri").status == 0
    done = train("task=mri", "+trainer.limit_train_batches=1")
    assert done.status == 0, done.err
    assert "finished before" not in done.err
    folders = sorted(Path("runs").glob("mri-*"))
    assert len(folders) == 2
    one, two = map(weights, folders)
    assert any(not torch.equal(one[name], two[name]) for name in one)
    identities = [RunFolder(folder).identity or {} for folder in folders]
    differ = [
        key
        for key in {**identities[0], **identities[1]}
        if len({str(i.get(key)) for i in identities}) > 1
    ]
    assert differ == ["trainer.limit_train_batches"]

    early = "lightning.pytorch.callbacks.EarlyStopping"
    refused = command("train", f"run={folders[0]}", f"+callbacks.stop._target_={early}")
    assert refused.status == 2
    assert "callbacks.stop._target_ would change it" in refused.err
    kept = command("train", f"run={folders[0]}", *[text for text in TINY if "logger" in text])
    assert "finished before" in kept.err

    # What the run was decides, not what its configuration means on this machine.
    for change, text in (
        ({"data.global_batch": 8}, "is trained on batches of 8 patches"),
        ({"own_code.mine.Net": "0"}, "the code of mine.Net changed since"),
        ({"seed": 1}, "seed would change it"),
        ({"network.pretrained": "0"}, "finished before"),  # of a file that may be gone
    ):
        file = folders[0] / "run.json"
        record = json.loads(file.read_text())
        changed = {**record, "identity": {**record["identity"], **change}}
        file.write_text(json.dumps(changed))
        assert text in command("train", f"run={folders[0]}", "logger=csv").err
        file.write_text(json.dumps(record))

    wrong = train("task=mri", "+callbacks.mine=3")
    assert wrong.status == 2
    assert "callbacks.mine is 3, expected a class and its options; type +callbacks." in wrong.err
