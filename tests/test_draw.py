"""The draw command: every figure from tiny finished runs, its numbers, and mistakes."""

import csv
import itertools
import json
import shutil
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from conftest import TINY, Command
from omegaconf import OmegaConf
from PIL import Image
from torch.nn import functional as F

from amir_lightning.config import CONF_DIR
from amir_lightning.tasks import load_task

if TYPE_CHECKING:
    from amir_lightning.draw.finished_run import FinishedRun

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

AMIR = ["task=mri+ct", "callbacks=interference", "callbacks.interference.every=2"]
AMIR += ["callbacks.interference.batches=2", "data.phantoms.test=2"]
RESTORMER = ["network=restormer", "experiment=figure1", "data.phantoms.test=2"]


@pytest.fixture
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "drawn_runs"


_TRAINED: dict[tuple[str, ...], Path] = {}


def trained(train: Command, runs_dir: Path, *options: str) -> Path:
    """Train once for the whole session."""
    if options in _TRAINED:
        return _TRAINED[options]
    done = train(*options, f"paths.runs_dir={runs_dir}")
    assert done.status == 0, done.err
    (line,) = [line for line in done.out.splitlines() if "run folder" in line]
    _TRAINED[options] = Path(line.split()[-1])
    return _TRAINED[options]


@pytest.fixture
def amir(train: Command, runs_dir: Path) -> Path:
    return trained(train, runs_dir, *AMIR)


@pytest.fixture
def restormer(train: Command, runs_dir: Path) -> Path:
    return trained(train, runs_dir, *RESTORMER)


def opened(run: Path, data_dir: Path) -> "FinishedRun":
    """The run as the command opens it."""
    from amir_lightning.draw.finished_run import open_finished

    paths = {"data_dir": str(data_dir), "runs_dir": str(run.parent)}
    paths |= {"prepared_dir": "none", "phantom_dir": str(data_dir / "phantoms")}
    trusted = ["amir_lightning", "lightning.pytorch.callbacks"]
    cfg = {"paths": paths, "checkpoint": "best", "split": "test", "trusted": trusted}
    return open_finished(str(run), OmegaConf.create(cfg))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def drawn(command: Command, kind: str, run: Path, *options: str) -> list[dict[str, str]]:
    """Draw into ``out/`` and return the numbers."""
    done = command("draw", f"draw={kind}", f"run={run}", "output=out", *options)
    assert done.status == 0, done.err
    picture = Image.open(f"out/{kind}.png")
    assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    assert Path(f"out/{kind}.pdf").read_bytes().startswith(b"%PDF")
    found = rows(Path(f"out/{kind}.csv"))
    assert {row["scale"] for row in found} == {"demo"}
    return found


def test_interference_of_named_layers(amir: Path, command: Command) -> None:
    layers = "layers=[last,stem.weight,network]"
    found = drawn(command, "interference", amir, layers, "batches=3", "bootstrap=20")
    names = {row["layer"] for row in found}
    assert names == {"decoders.2.0.feed_forward.project_out", "stem.weight", "network"}
    assert len(found) == 3 * 2 * 4
    means = rows(Path("out/interference_mean.csv"))
    assert [row["block"] for row in means[::2]] == ["last", "stem.weight", "network"]
    for mean in means:
        pairs = [
            float(row["value"])
            for row in found
            if row["affected"] != row["acting"]
            and (row["layer"], row["definition"]) == (mean["layer"], mean["definition"])
        ]
        assert float(mean["value"]) == pytest.approx(np.mean(pairs))
        assert float(mean["low"]) < float(mean["high"])
        assert float(mean["error"]) > 0
        assert (mean["run"], mean["checkpoint"], mean["split"]) == (amir.name, "best", "test")
    for row in found:
        if row["affected"] == row["acting"]:
            assert float(row["value"]) == pytest.approx(1)
        else:
            assert float(row["low"]) < float(row["high"])


def test_gradients_are_slopes_of_the_loss_of_one_task(amir: Path, data_dir: Path) -> None:
    """A finite difference of the loss of training patches, in double precision."""
    from amir_lightning.modules.gradients import find_layers, task_gradients

    run = opened(amir, data_dir)
    module = run.module.double().train()
    layers = find_layers(module.network, ["encoders.1.0"])
    found = task_gradients(module, run.data, layers, 2)["encoders.1.0"]
    assert found.shape == (2, 2, sum(one.numel() for one in layers["encoders.1.0"]))

    from amir_lightning.data.sampler import MultiTaskSampler

    ct = run.data.modules[1].slices("train", None, 1)
    sampler = MultiTaskSampler([len(ct)], seed=0)  # as a training of CT alone draws
    draws = [sampler.item(k) for k in range(4, 8)]  # its second mini-batch
    patches = [ct.patch(draw.index, 0, draw.counter, 32) for draw in draws]
    lq, hq = (torch.stack(images).double() for images in list(zip(*patches, strict=True))[:2])

    def loss() -> float:
        torch.manual_seed(1)  # the routing noise of the second mini-batch
        report = module.network.report(lq)
        return float(F.l1_loss(report.image, hq) + 0.001 * report.balance)

    direction = found[1, 1].double() / found[1, 1].double().norm()
    with torch.no_grad():
        values = []
        for step in (1e-6, -2e-6):
            start = 0
            for weight in layers["encoders.1.0"]:
                part = direction[start : start + weight.numel()]
                weight += step * part.view_as(weight)
                start += weight.numel()
            values.append(loss())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(found[1, 1].norm()), rel=1e-3)


def test_instructions_paths_and_maps(amir: Path, command: Command) -> None:
    tested = rows(amir / "evaluation" / "test" / "slices.csv")
    points = drawn(command, "instructions", amir)
    assert [(p["task"], p["patient"], p["slice"]) for p in points] == [
        (row["task"], row["patient"], row["slice"]) for row in tested
    ]
    (clusters,) = rows(Path("out/instructions_clusters.csv"))
    assert clusters["by_patient"] == "True"
    assert clusters["folds"] == "2"
    assert -1 <= float(clusters["silhouette"]) <= 1
    patients = rows(Path("out/instructions_patients.csv"))
    assert sum(int(row["slices"]) for row in patients) == len(points)
    weighted = sum(int(row["slices"]) * float(row["silhouette"]) for row in patients)
    assert weighted / len(points) == pytest.approx(float(clusters["silhouette"]), abs=1e-5)
    assert {row["split"] for row in patients} == {"test"}

    shares: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in drawn(command, "paths", amir):
        shares[row["task"], row["srm"]].append(row)
    assert len(shares) == 2 * 3
    for own in shares.values():
        for key in ("share", "top1_pixels"):
            assert sum(float(row[key]) for row in own) == pytest.approx(1)
        (chosen,) = [row for row in own if row["on_path"] == "True"]
        assert float(chosen["share"]) == max(float(row["share"]) for row in own)

    nodes = OmegaConf.load(CONF_DIR / "claims.yaml").claims.values()
    claimed = [node for node in nodes if node.rule == "patients"]
    assert {node.figure for node in claimed} == {"instructions_patients", "paths_patients"}
    for node in claimed:
        columns = set(rows(Path(f"out/{node.figure}.csv"))[0])
        assert {node.value, node.get("above") or node.value} <= columns

    patients = rows(Path("out/paths_patients.csv"))
    assert {(row["task"], row["patient"]) for row in patients} == {
        (row["task"], row["patient"]) for row in tested
    }
    for row in patients:
        assert 0 <= float(row["within"]) <= 1
        assert 0 <= float(row["between"]) <= 1
        assert -1 <= float(row["own_path"]) <= 1
        assert len(row["path"].split("-")) == 3

    one = tested[-1]
    maps = drawn(command, "routing", amir, f"patient='{one['patient']}'", f"slice={one['slice']}")
    assert {(row["task"], row["patient"], row["slice"]) for row in maps} == {
        ("ct", one["patient"], one["slice"])
    }
    assert sum(float(row["top1_pixels"]) for row in maps) == pytest.approx(3)


def test_curves_and_conflict_are_what_was_logged(amir: Path, command: Command) -> None:
    logged = rows(amir / "metrics.csv")
    psnr = [row for row in drawn(command, "curves", amir) if row["key"] == "val/ct/psnr"]
    assert [float(row["value"]) for row in psnr] == [
        float(row["val/ct/psnr"]) for row in logged if row["val/ct/psnr"]
    ]
    assert [row["step"] for row in psnr] == ["2", "4"]
    conflict = [row for row in drawn(command, "conflict", amir) if row["kind"] == "conflict"]
    assert {row["pair"] for row in conflict} == {"mri_ct"}
    assert sorted({row["step"] for row in conflict}) == ["2", "4"]


def test_comparison_shows_the_median_slice_of_the_first_method(
    amir: Path, restormer: Path, command: Command
) -> None:
    runs = f"runs=[{amir},{restormer}]"
    found = drawn(command, "comparison", amir, runs)
    by_task = defaultdict(list)
    for row in found:
        by_task[row["task"]].append(row)
    assert [row["method"] for row in by_task["ct"]] == ["AMIR", "Restormer"]
    assert [row["method"] for row in by_task["pet"]] == ["Restormer"]
    for task, run in (("mri", amir), ("ct", amir), ("pet", restormer)):
        own = [row for row in rows(run / "evaluation/test/slices.csv") if row["task"] == task]
        own.sort(key=lambda row: float(row["psnr"]))
        median = own[len(own) // 2]
        for row in by_task[task]:
            assert (row["patient"], row["slice"]) == (median["patient"], median["slice"])
        assert by_task[task][0]["psnr"] == median["psnr"]

    below = Image.open("out/comparison.png").size
    assert drawn(command, "comparison", amir, runs, "errors=beside") == found
    beside = Image.open("out/comparison.png").size
    assert beside[0] > 1.5 * below[0]
    assert beside[1] < 0.7 * below[1]
    refused = command("draw", "draw=comparison", f"run={amir}", "errors=above")
    assert "errors is 'above'; choose from below, beside" in refused.err

    other = amir.with_name("other-data")
    shutil.copytree(amir, other, dirs_exist_ok=True)
    record = json.loads((other / "run.json").read_text())
    record["data"]["ct"] |= {"fingerprint": "0" * 64, "drawn": {"version": 0}}
    (other / "run.json").write_text(json.dumps(record))
    refused = command("draw", "draw=comparison", f"runs=[{restormer},{other}]")
    shutil.rmtree(other)
    assert refused.status == 2
    assert "trained on other data of ct" in refused.err
    nobody = command("draw", "draw=comparison", f"run={amir}", "patient=zz")
    assert nobody.status == 2
    assert "no slice has patient=zz" in nobody.err


def test_an_experiment_finds_its_runs(restormer: Path, runs_dir: Path, command: Command) -> None:
    options = ["experiment=figure1", f"paths.runs_dir={runs_dir}", "batches=2", "bootstrap=0"]
    # Of the options of train only those that decide the numbers of a run tell runs apart.
    done = command("draw", *options, *TINY)
    assert done.status == 0, done.err
    assert (restormer / "figures" / "interference.png").exists()
    none = command("draw", "experiment=figure1", f"paths.runs_dir={runs_dir}")
    assert none.status == 2
    assert "train them with python -m amir_lightning.train -m experiment=figure1" in none.err


def test_mistakes_are_one_sentence(
    amir: Path, restormer: Path, train: Command, runs_dir: Path, command: Command
) -> None:
    single = trained(train, runs_dir, "task=ct", "data.phantoms.test=2")
    stopped = amir.with_name("stopped")
    shutil.copytree(amir, stopped, dirs_exist_ok=True)
    (stopped / "result.json").unlink()
    for options, sentence in (
        (["draw=paths", f"run={restormer}"], "restormer has no gates; draw a run of"),
        (["draw=instructions", f"run={restormer}"], "restormer reads no task from the image"),
        (["draw=conflict", f"run={restormer}"], "train with callbacks=interference"),
        (["draw=interference", f"run={single}"], "trains one task"),
        (["draw=instructions", f"run={single}"], "trains one task"),
        (["draw=interference", f"run={amir}", "layers=[stemm]"], "did you mean stem"),
        (["draw=interference", f"run={amir}", "batches=1"], "batches is 1, expected at least 2"),
        (["draw=paths", f"run={stopped}"], "has not finished"),
        (["draw=interfrence", f"run={amir}"], "type draw= with one of curves, interference"),
        (["draw=paths", f"run={amir}", "slices=3"], "'slices'; did you mean 'slice'?"),
        (["draw=paths", f"run={amir}", "repeat=3"], "unknown option 'repeat=3'; draw has"),
        (["draw=interference", f"run={amir}", "layers=[]"], "a list of at least one; type for"),
        (["draw=curves", "runs=[]"], "type for instance runs=['last']"),
        (["draw=routing", f"run={amir}", "slice=x"], "slice is 'x', expected an integer"),
    ):
        done = command("draw", *options, "output=nothing")
        assert done.status == 2, options
        assert sentence in done.err
    shutil.rmtree(stopped)
    assert not Path("nothing").exists()


def test_the_inset_is_where_lq_is_farthest() -> None:
    from amir_lightning.draw.comparison import farthest

    hq = torch.zeros(20, 30)
    lq = hq.clone()
    lq[7:11, 19:23] = -3.0
    lq[0, 0] = 5.0
    assert farthest(lq, hq, 4) == (7, 19)


def test_the_probe_holds_out_patients() -> None:
    """Vectors that tell patients apart, not tasks: a probe over slices would be fooled."""
    from amir_lightning.draw.instructions import measure

    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(8), 10)
    vectors = rng.normal(size=(8, 16))[patients] + 0.01 * rng.normal(size=(80, 16))
    tasks = np.where(patients < 4, "mri", "ct")
    named = patients.astype(str)
    random = measure(vectors, tasks, named, 0)
    assert (random.folds, random.by_patient, random.chance) == (4, True, 0.5)
    assert random.probe < 0.9
    told = measure(vectors + 10 * (patients < 4)[:, None], tasks, named, 0)
    assert told.probe == 1
    assert told.silhouette > 0.8
    alone = measure(vectors, tasks, tasks, 0)
    assert not alone.by_patient


def test_gain_by_tasks_is_what_the_runs_scored(
    train: Command, amir: Path, runs_dir: Path, command: Command
) -> None:
    alone = [
        trained(train, runs_dir, f"task={task}", "data.phantoms.test=2") for task in ("mri", "ct")
    ]
    runs = ",".join(map(str, [amir, *alone]))
    done = command("draw", "draw=gain_by_tasks", f"runs=[{runs}]", "output=out", "bootstrap=50")
    assert done.status == 0, done.err
    found = {(row["tasks"], row["task"]): row for row in rows(Path("out/gain_by_tasks.csv"))}
    assert set(found) == {(size, task) for size in "12" for task in ("mri", "ct", "mean")}
    for size, task, run in (("2", "mri", amir), ("2", "ct", amir), ("1", "mri", alone[0])):
        gains = [
            float(row["psnr"]) - float(row["input_psnr"])
            for row in rows(run / "evaluation" / "test" / "slices.csv")
            if row["task"] == task
        ]
        point = found[size, task]
        assert float(point["gain"]) == pytest.approx(np.mean(gains))
        assert float(point["low"]) <= float(point["gain"]) <= float(point["high"])
    for size in "12":
        both = [float(found[size, task]["gain"]) for task in ("mri", "ct")]
        assert float(found[size, "mean"]["gain"]) == pytest.approx(np.mean(both))
        assert found[size, "mean"]["mean_of"] == "mri+ct"
    from amir_lightning.runs.folder import RunFolder
    from amir_lightning.runs.kept import keep

    keep([RunFolder(path) for path in (amir, *alone)], Path("kept"))
    copies = ",".join(map(str, sorted(Path("kept").iterdir())))
    again = command("draw", "draw=gain_by_tasks", f"runs=[{copies}]", "output=kept", "bootstrap=9")
    assert again.status == 0, again.err
    for row in rows(Path("kept/gain_by_tasks.csv")):
        assert float(row["gain"]) == pytest.approx(float(found[row["tasks"], row["task"]]["gain"]))
    refused = command("draw", "draw=gain_by_tasks", f"runs=[{alone[0]},{alone[1]}]")
    assert refused.status == 2
    assert "all of these runs train 1 task, expected different numbers" in refused.err
    longer = alone[1].with_name("longer")
    shutil.copytree(alone[1], longer)
    config = OmegaConf.load(longer / "config.yaml")
    config.trainer.max_steps = 6
    OmegaConf.save(config, longer / "config.yaml")
    mixed = command("draw", "draw=gain_by_tasks", f"runs=[{runs},{longer}]")
    shutil.rmtree(longer)
    assert mixed.status == 2
    assert "with 4 and 6 steps" in mixed.err


def test_the_mean_gain_is_over_the_tasks_that_every_number_has() -> None:
    """Patients are the units: ten slices of one of two patients are no ten patients."""
    from amir_lightning.draw.gain_by_tasks import Gain, measure

    def patients(*means: float) -> dict[str, Gain]:
        return {f"p{number}": Gain(10 * mean, 10) for number, mean in enumerate(means)}

    groups = {
        ("mri",): {"mri": patients(4, 6)},
        ("ct",): {"ct": patients(1, 3)},
        ("mri", "ct"): {"mri": patients(6, 8), "ct": patients(0, 2)},
        ("mri", "ct", "pet"): {name: patients(2, 4) for name in ("mri", "ct", "pet")},
    }
    points, common = measure(groups, bootstrap=400)
    assert common == ["mri", "ct"]
    assert points[1, "mri"].gain == 5
    assert (points[1, "mri"].low, points[1, "mri"].high) == (4, 6)
    assert [points[size, "mean"].gain for size in (1, 2, 3)] == [3.5, 4, 3]
    assert points[1, "mean"].low == pytest.approx(2.5)
    without, _ = measure(groups, bootstrap=0)
    assert without[3, "pet"] == (3, None, None)
    alone, _ = measure({("mri",): {"mri": patients(4)}}, bootstrap=9)
    assert alone[1, "mri"] == (4, None, None)


def test_silhouettes_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import pairwise_distances, silhouette_samples

    from amir_lightning.draw.separation import distances_by_task, silhouettes

    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 4))
    tasks = np.array(["mri"] * 12 + ["ct"] * 17 + ["pet"])
    distances = pairwise_distances(points)
    np.testing.assert_allclose(
        silhouettes(distances, tasks), silhouette_samples(points, tasks), atol=1e-9
    )
    within, between = distances_by_task(distances, tasks)
    assert within[0] == pytest.approx(distances[0, 1:12].mean())
    assert between[0] == pytest.approx(min(distances[0, 12:29].mean(), distances[0, 29]))
    assert np.isnan(within[29])


def test_chance_moves_whole_patients() -> None:
    """Patients that lie apart look like clusters by chance; slices alone would hide it."""
    from amir_lightning.draw.instructions import patient_rows

    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(8), 10)
    vectors = rng.normal(size=(8, 16))[patients] + 0.01 * rng.normal(size=(80, 16))
    tasks = np.where(patients < 4, "mri", "ct")
    alike = patient_rows(vectors, tasks, patients.astype(str), 0)
    assert len(alike) == 8
    mean = np.mean([row["silhouette"] for row in alike if row["task"] == "mri"])
    assert 0 < mean < 2 * alike[0]["chance"]
    shuffled = patient_rows(vectors, tasks, np.arange(80).astype(str), 0)
    assert shuffled[0]["chance"] < 0.5 * alike[0]["chance"]
    apart = patient_rows(vectors + 10 * (patients < 4)[:, None], tasks, patients.astype(str), 0)
    assert all(row["silhouette"] > 0.8 > row["chance"] for row in apart)


def test_paths_of_patients_by_hand() -> None:
    from amir_lightning.draw.expert_paths import PatientUse, patient_rows

    masses = {
        ("mri", "a"): [[8.0, 2.0], [6.0, 4.0]],
        ("mri", "b"): [[6.0, 4.0], [8.0, 2.0]],
        ("ct", "c"): [[2.0, 8.0], [6.0, 4.0]],
        ("ct", "d"): [[40.0, 60.0], [90.0, 10.0]],
    }
    found = patient_rows([PatientUse(*key, torch.tensor(one)) for key, one in masses.items()])
    a, b, c, d = found
    assert a["within"] == pytest.approx((0.2 + 0.2) / 2)
    assert a["between"] == pytest.approx(((0.6 + 0.0) / 2 + (0.4 + 0.3) / 2) / 2)
    assert [row["path"] for row in found] == ["0-0", "0-0", "1-0", "1-0"]
    # On path 0-0 of the other MRI patient lie 0.8 and 0.6, on path 1-0 of CT 0.2 and 0.6.
    assert a["own_path"] == pytest.approx((0.8 + 0.6) / 2 - (0.2 + 0.6) / 2)
    alone = patient_rows([PatientUse(*key, torch.tensor(masses[key])) for key in [*masses][1:]])
    assert alone[0]["within"] == alone[0]["own_path"] == ""
    same = {("mri", "a"): masses["mri", "a"], ("mri", "b"): masses["mri", "b"]}
    same |= {("ct", name): masses["mri", name] for name in "ab"}
    found = patient_rows([PatientUse(*key, torch.tensor(one)) for key, one in same.items()])
    assert [row["own_path"] for row in found] == [0, 0, 0, 0]
    # The path of a task is that of its other patients: one patient cannot vote for itself.
    odd = {("mri", "a"): [[9.0, 1.0]], ("mri", "b"): [[4.0, 6.0]], ("ct", "c"): [[9.0, 1.0]]}
    found = patient_rows([PatientUse(*key, torch.tensor(one)) for key, one in odd.items()])
    assert found[0]["own_path"] == pytest.approx(0.1 - 0.9)


def test_sharing_is_that_of_the_paths_and_the_interference(
    train: Command, amir: Path, runs_dir: Path, data_dir: Path, command: Command
) -> None:
    from amir_lightning.draw.expert_paths import expert_use
    from amir_lightning.draw.interference_matrix import measure

    four = trained(train, runs_dir, "task=mri+ct+ct_dose+mri_noise", "data.phantoms.test=2")
    options = ("layers=[second,stem.weight]", "batches=3")
    refused = command("draw", "draw=sharing", f"run={amir}", *options)
    assert refused.status == 2
    assert "none of the runs trains at least 4 tasks with a network that routes" in refused.err
    found = drawn(command, "sharing", four, f"runs=[{amir},{four}]", *options)
    assert {row["run"] for row in found} == {four.name}
    assert len(found) == 2 * 6
    run = opened(four, data_dir)
    names = [task.name for task in run.tasks]
    use, _ = expert_use(run)
    measured = measure(run, ["second", "stem.weight"], 3, bootstrap=0)
    for row in found:
        layer, task, other = row["layer"], row["task"], row["other"]
        common = torch.minimum(use[task].mass, use[other].mass).sum(dim=-1).mean()
        assert float(row["shared"]) == pytest.approx(float(common), abs=1e-5)
        acting = measured[layer].ratio_of_means
        i, j = names.index(task), names.index(other)
        assert float(row["on_task"]) == pytest.approx(acting[i, j])
        assert float(row["on_other"]) == pytest.approx(acting[j, i])
        both = (float(row["on_task"]) + float(row["on_other"])) / 2
        assert float(row["both"]) == pytest.approx(both)
        assert row["same_modality"] == str(task[:2] == other[:2])
    tested = rows(Path("out/sharing_correlation.csv"))
    assert [(row["of"], row["pairs"], row["orders"]) for row in tested] == [
        ("all", "6", "24"),
        ("two_modalities", "4", "4"),
    ] * 2


def test_sharing_is_correlated_with_help_as_by_hand() -> None:
    from itertools import permutations, product

    from scipy.stats import spearmanr

    from amir_lightning.draw.expert_paths import Use
    from amir_lightning.draw.sharing import correlation, shared_mass

    mass = {"mri": [[0.8, 0.2], [0.5, 0.5]], "ct": [[0.3, 0.7], [0.5, 0.5]]}
    use = {name: Use(torch.tensor(own), torch.tensor(own)) for name, own in mass.items()}
    expected = [[1, (0.5 + 1) / 2], [(0.5 + 1) / 2, 1]]
    np.testing.assert_allclose(shared_mass(use, ["mri", "ct"]), expected, atol=1e-6)

    def symmetric(seed: int, tasks: int) -> np.ndarray:
        values = np.random.default_rng(seed).normal(size=(tasks, tasks))
        return values + values.T

    def spearman(one: np.ndarray, other: np.ndarray, at: tuple[np.ndarray, ...]) -> float:
        return float(spearmanr(one[at], other[at]).statistic)

    one, other = symmetric(0, 5), symmetric(1, 5)
    upper = np.triu_indices(5, 1)
    known = spearman(one, other, upper)
    every = [spearman(one, other[np.ix_(order, order)], upper) for order in permutations(range(5))]
    found = correlation(one, other)
    assert found.spearman == pytest.approx(known)
    assert found.p == pytest.approx(np.mean(np.abs(every) >= abs(known) - 1e-9))
    assert (found.pairs, found.orders) == (10, 120)

    # Eight tasks of three modalities: those of one modality share experts and help each other.
    modalities = ["MR"] * 3 + ["CT"] * 3 + ["PT"] * 2
    same = np.array([[i == j for j in modalities] for i in modalities])
    one, other = (0.1 * symmetric(seed, 8) + 3 * same for seed in (2, 3))
    apart = np.nonzero(np.triu(~same))
    together, across = correlation(one, other), correlation(one, other, modalities)
    assert together.spearman > 0.3
    assert (together.pairs, together.orders) == (28, 40320)
    assert across.spearman == pytest.approx(spearman(one, other, apart))
    assert (across.pairs, across.orders) == (21, 72)
    swaps = product(*(permutations(part) for part in ((0, 1, 2), (3, 4, 5), (6, 7))))
    orders = [[*first, *second, *third] for first, second, third in swaps]
    every = [spearman(one, other[np.ix_(order, order)], apart) for order in orders]
    assert across.p == pytest.approx(np.mean(np.abs(every) >= abs(across.spearman) - 1e-9))
    assert np.isnan(correlation(one, np.ones((8, 8))).spearman)
    # Of many tasks a sample of the orders is counted.
    one = symmetric(4, 10)
    many = correlation(one, one + 0.1 * symmetric(5, 10), ["MR"] * 5 + ["CT"] * 5)
    assert (many.pairs, many.orders) == (25, 20_000)
    assert many.p < 0.001


def test_texts_of_eight_tasks_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.text import Text

    from amir_lightning.draw import expert_paths, interference_matrix
    from amir_lightning.metrics.interference import interference

    names = ["mri", "ct", "pet", "ct_dose", "ct_sparse", "mri_accel", "mri_noise", "pet_dose"]
    run = SimpleNamespace(tasks=[load_task(name) for name in names], name="run", drawn_from={})
    run.module = SimpleNamespace(network=None)
    generator = torch.Generator().manual_seed(0)
    masses = [torch.rand(3, 4, generator=generator) for _ in names]
    masses = [mass / mass.sum(dim=-1, keepdim=True) for mass in masses]
    use = {name: expert_paths.Use(own, own) for name, own in zip(names, masses, strict=True)}
    patients = [expert_paths.PatientUse(name, "a", own.mass) for name, own in use.items()]
    found = {"a.layer": interference(torch.randn(8, 5, 30, generator=generator), 20, 0)}
    monkeypatch.setattr(expert_paths, "expert_use", lambda _: (use, patients))
    monkeypatch.setattr(interference_matrix, "measure", lambda *_: found)
    monkeypatch.setattr(interference_matrix, "find_layers", lambda *_: {"a.layer": []})

    def ticks(ax: Axes) -> list[Text]:
        return [*ax.get_xticklabels(), *ax.get_yticklabels()] if ax.axison else []

    drawings = expert_paths.draw(run), interference_matrix.draw(run, ["last"], 5, 20)
    for figure in (drawing.figure for drawing in drawings):
        FigureCanvasAgg(figure).draw()
        texts = [text for ax in figure.axes for text in [*ax.texts, ax.title, *ticks(ax)]]
        places = [(one.get_text(), one.get_window_extent().shrunk(0.95, 0.9)) for one in texts]
        places = [(text, box) for text, box in places if text]
        assert len(places) > 8 * 8
        for (one, box), (other, beside) in itertools.combinations(places, 2):
            assert not box.overlaps(beside), (one, other)
    above = drawings[0].figure.axes[0]
    boxes = [patch for patch in above.patches if isinstance(patch, Rectangle)]
    paths = [patch.get_path().vertices for patch in above.patches if isinstance(patch, PathPatch)]
    assert len(paths) == 3 * len(names)
    ends = {round(float(path[-1, 1]), 6) for path in paths}
    inside = [
        any(box.get_y() <= end <= box.get_y() + box.get_height() for box in boxes) for end in ends
    ]
    assert all(inside)
