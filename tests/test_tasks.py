"""Every task through the public commands: patients, prepared scans, training, scores, scans."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import TINY, Command
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from test_prepare import scan
from test_restore import body, brain

from amir_lightning.cli.app import explain
from amir_lightning.data.pairs import patient_seed
from amir_lightning.data.store import Store, patient_id
from amir_lightning.degradation import OneOf, fixed_for
from amir_lightning.degradation.parameters import LogUniform, value_of
from amir_lightning.errors import InputError
from amir_lightning.pictures import grey
from amir_lightning.runs.by_parameter import split_scores
from amir_lightning.tasks import known_tasks, load_task

DRAWN = {
    "mri_accel": {"factor"},
    "mri_noise": {"level"},
    "mri_motion": {"events", "shift_mm", "degrees"},
    "ct_sparse": {"views"},
    "ct_dose": {"dose"},
    "pet_dose": {"reduction"},
    "pet_short": {"seconds"},
}
ALL = "task=" + "+".join(DRAWN)
PATIENTS = (
    *("data.phantoms.train=1", "data.phantoms.test=3", "data.phantoms.seed=2"),
    *("tasks.pet.phantom.num_slices=64", "tasks.ct.degradation.photons=7e4"),
)

BELOW = [f"tasks.ct_dose.degradation.dose.{limit}" for limit in ("low=0.004", "high=0.01")]


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def seven(train: Command, runs_dir: Path) -> Path:
    """A run of all seven tasks, trained once for this module."""
    if not any(runs_dir.iterdir()):
        few = ("trainer.max_steps=1", "validation.every=1", f"paths.runs_dir={runs_dir}")
        done = train(ALL, *PATIENTS, *few)
        assert done.status == 0, done.err
        assert all(load_task(name).title in done.out for name in DRAWN)
    return next(runs_dir.glob("ct_dose*"))


@pytest.fixture
def by_dose(seven: Path, command: Command) -> Path:
    """The same run, evaluated by dose in the trained range and far below it."""
    if not (seven / "evaluation/test/by_dose.csv").exists():
        for options in (["by_groups=2"], ["by_groups=0", "source=phantoms", *BELOW]):
            done = command("evaluate", f"run={seven}", "by=dose", "bootstrap=20", *options)
            assert done.status == 0, done.err
            assert "by_dose.csv" in done.out
    return seven


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(4):
        scan(tmp_path / "raw" / f"P{number}.nii.gz", number, size=32)
    return tmp_path / "raw"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def store_of(run: Path, task: str) -> Store:
    record = json.loads((run / "run.json").read_text())
    return Store(Path(record["data"][task]["file"]), task)


def test_the_tasks_are_those_of_the_package() -> None:
    assert known_tasks() == ["mri", "ct", "pet", *sorted(DRAWN)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_task_has_the_ranges_and_patients_of_its_modality(name: str) -> None:
    task, modality = load_task(name), load_task(name.split("_")[0])
    for key in ("units", "value_range", "score_range", "display_window", "plane", "plausible"):
        assert getattr(task, key) == getattr(modality, key)
    assert task.phantom == modality.phantom
    assert task.dicom_modality == modality.dicom_modality


def test_all_tasks_are_trained_scored_and_shown(
    by_dose: Path, seven: Path, command: Command
) -> None:
    """Also that the parameters of each patient are recorded, and split the scores."""
    for name, drawn in DRAWN.items():
        store = store_of(seven, name)
        found = [store.parameters(patient) for patient in store.patients("test")]
        assert len(found) == 3
        assert all(set(one) == drawn for one in found)
        lq, hq = store.read(store.slices("test")[0])
        assert not np.array_equal(lq, hq)

    store = store_of(seven, "ct_dose")
    doses = {one: store.parameters(one)["dose"] for one in store.patients("test")}
    low, high = parts = rows(seven / "evaluation/test/by_dose.csv")
    assert {part["task"] for part in parts} == {"ct_dose"}
    assert {part["patients"] for part in parts} == {"1", "2"}
    assert float(low["dose_low"]) == min(doses.values())
    assert float(high["dose_high"]) == max(doses.values())
    scored = [one for one in rows(seven / "evaluation/test/slices.csv") if one["task"] == "ct_dose"]
    for part in parts:
        inside = [
            float(one["psnr"])
            for one in scored
            if float(part["dose_low"]) <= doses[one["patient"]] <= float(part["dose_high"])
        ]
        assert len(inside) == int(part["slices"])
        assert float(part["psnr"]) == pytest.approx(np.mean(inside))

    mistaken = command("evaluate", f"run={seven}", "by=reductions")
    assert mistaken.status == 2
    assert "by=reductions is no parameter that was drawn" in mistaken.err
    assert "ct_dose: dose; ct_sparse: views; mri_accel: factor" in mistaken.err

    for other in (["draw", "draw=curves", f"run={seven}"], ["dashboard"]):
        shown = command(*other, f"paths.runs_dir={seven.parent}")
        assert shown.status == 0, shown.err


def test_the_dose_of_an_embedded_patient_is_a_function_of_its_seed(seven: Path) -> None:
    store = store_of(seven, "ct_dose")
    found = {store.parameters(one)["dose"] for one in store.patients("test")}
    # The last three of one, one and three patients.
    seeds = (20_002, 20_003, 20_004)
    assert found == {value_of(LogUniform(0.05, 0.25), "dose", seed) for seed in seeds}


def test_a_run_is_scored_beyond_the_doses_of_its_training(
    by_dose: Path, command: Command, data_dir: Path
) -> None:
    scored = "test-phantoms-ct_dose.dose.low=0.004-ct_dose.dose.high=0.01"
    beyond = rows(by_dose / f"evaluation/{scored}/by_dose.csv")
    assert len(beyond) == 3
    assert all(0.004 <= float(one["dose_low"]) <= 0.01 for one in beyond)
    trained = rows(by_dose / "evaluation/test/tasks.csv")[0]
    mean = np.mean([float(one["input_psnr"]) for one in beyond])
    assert mean < float(trained["input_psnr"]) - 1
    stores = [Store(path).degradation for path in data_dir.rglob("ct_dose*.h5")]
    (used,) = [one for one in stores if "0.004" in str(one["dose"])]
    assert used["photons"] == 7e4  # what is not typed is that of the training
    for typed, text in (
        (BELOW[:1], "needs patients that are scanned with it; type source=phantoms"),
        (["source=phantoms", "tasks.ct_dose.title=x"], "is no parameter of a degradation of this"),
        (["source=phantoms", "tasks.mri.degradation.noise=9"], "is no parameter of a degradation"),
        (["source=phantoms", "tasks.ct_dose.degradation.dose=0"], "dose is 0"),
    ):
        refused = command("evaluate", f"run={by_dose}", *typed)
        assert refused.status == 2
        assert text in refused.err


def test_psnr_against_dose(by_dose: Path, command: Command) -> None:
    pytest.importorskip("matplotlib")
    number = ("source=phantoms", "tasks.ct_dose.degradation.dose=0.5")
    done = command("evaluate", f"run={by_dose}", "by=dose", "bootstrap=20", *number)
    assert done.status == 0, done.err
    assert "0.5" in done.out
    # A run of another network, which was not evaluated above the range.
    other = by_dose.with_name("other")
    shutil.copytree(by_dose, other)
    shutil.rmtree(other / "evaluation/test-phantoms-ct_dose.dose=0.5")
    config = OmegaConf.load(other / "config.yaml")
    config.network_name = "restormer"
    OmegaConf.save(config, other / "config.yaml")
    # Evaluations of something else are no points: other weights, other physics.
    for name, option in (("a", "checkpoint=last"), ("b", "physics=[ct_dose.photons=9]")):
        shutil.copytree(other / "evaluation/test", other / f"evaluation/{name}")
        used = OmegaConf.load(other / "evaluation/test/evaluate.yaml")
        used.merge_with_dotlist([option])
        OmegaConf.save(used, other / f"evaluation/{name}/evaluate.yaml")

    this = ("draw", "draw=by_parameter", f"runs=[{by_dose},{other}]", "output=out")
    drawn = command(*this, "by=dose")
    assert drawn.status == 0, drawn.err
    assert len(np.unique(np.asarray(Image.open("out/by_dose.png").convert("L")))) > 20
    assert Path("out/by_dose.pdf").exists()
    found = rows(Path("out/by_dose.csv"))
    assert {row["scale"] for row in found} == {"demo"}
    assert {(row["trained_low"], row["trained_high"]) for row in found} == {("0.05", "0.25")}
    for run, network in ((by_dose, "amir"), (other, "restormer")):
        names = sorted({row["evaluation"] for row in found if row["network"] == network})
        assert names == sorted(
            path.name for path in (run / "evaluation").iterdir() if path.name not in ("a", "b")
        )
        for name in names:
            drawn_points = [
                row for row in found if (row["network"], row["evaluation"]) == (network, name)
            ]
            scored = rows(run / f"evaluation/{name}/by_dose.csv")
            scored.sort(key=lambda row: float(row["dose_low"]))
            for key, column in {
                "low": "dose_low",
                "high": "dose_high",
                "patients": "patients",
            }.items():
                assert [float(row[key]) for row in drawn_points] == [
                    float(row[column]) for row in scored
                ]
            for key in ("psnr", "input_psnr", "psnr_low"):
                assert [row[key] for row in drawn_points] == [row[key] for row in scored]
            assert {row["trained"] for row in drawn_points} == {str(name == "test")}

    for options, text in (
        ([], "by is not set; type by= with one of degrees, dose, "),
        (["by=doses"], "by is 'doses', which no patient of these runs has drawn; type by="),
        (
            ["by=views"],
            f"none of the runs was evaluated by views; type python -m amir_lightning."
            f"evaluate run={by_dose} by=views",
        ),
        (["by=dose", "split=val"], "none of the runs was evaluated by dose"),
    ):
        refused = command(*this, *options)
        assert refused.status == 2
        assert text in refused.err
    table = other / "evaluation/test/by_dose.csv"
    table.write_text(table.read_text().replace("psnr", "other"))
    damaged = command(*this, "by=dose")
    shutil.rmtree(other)
    assert damaged.status == 2
    assert "test/by_dose.csv cannot be read" in damaged.err


def test_a_number_or_other_numbers_may_be_typed_in_place_of_a_range(command: Command) -> None:
    number = "tasks.mri_noise.degradation.level=9"
    values = "tasks.mri_accel.degradation.factor.values=[3,6,12]"
    sizes = ("tasks.mri.phantom.size=48", "tasks.mri.phantom_slices=1", "data.phantoms.train=12")
    tasks = "task=mri_accel+mri_noise"
    done = command("contact_sheet", tasks, "paths.data_dir=data", number, values, *sizes)
    assert done.status == 0, done.err
    accelerated, noisy = (Store(path) for path in sorted(Path("data").rglob("mri_*.h5")))
    found = {accelerated.parameters(patient)["factor"] for patient in accelerated.patients("train")}
    assert found == {3, 6, 12}
    assert noisy.degradation["level"] == 9
    assert {str(noisy.parameters(patient)) for patient in noisy.patients("train")} == {"{}"}


def test_several_tasks_share_the_hq_of_one_store(command: Command, raw: Path) -> None:
    usual = ("raw_dir=raw", "jobs=1", "paths.prepared_dir=out")
    assert command("prepare", "task=mri", *usual).status == 0
    for task in ("mri_accel", "mri_noise", "mri_motion"):
        done = command("prepare", f"task={task}", "hq_from=out/mri.h5", *usual)
        assert done.status == 0, done.err
    assert command("prepare", "task=mri_noise", "output=out/own.h5", *usual).status == 0
    base, shared, own = (Store(Path(f"out/{name}.h5")) for name in ("mri", "mri_noise", "own"))
    assert shared.fingerprint == own.fingerprint
    assert shared.path.stat().st_size < 0.6 * own.path.stat().st_size
    for split in ("train", "val", "test"):
        assert shared.slices(split) == base.slices(split) == own.slices(split)  # type: ignore[arg-type]
        for ref in shared.slices(split):  # type: ignore[arg-type]
            for one, two in zip(shared.read(ref), own.read(ref), strict=True):
                np.testing.assert_array_equal(one, two)
            for one, two in zip(shared.crop(ref, 3, 4, 8), own.crop(ref, 3, 4, 8), strict=True):
                np.testing.assert_array_equal(one, two)
            np.testing.assert_array_equal(shared.read(ref)[1], base.read(ref)[1])
    # What was drawn is recorded, and LQ is that of the recorded number.
    key = patient_id("P0")
    factor = value_of(OneOf((4, 8)), "factor", patient_seed(0, key))
    assert Store(Path("out/mri_accel.h5")).parameters(key) == {"factor": factor}
    done = command(
        *("train", "task=mri+mri_accel+mri_noise+mri_motion", "paths.prepared_dir=out"),
        *("network.width=8", "data.patch_size=16", "trainer.max_steps=1", "logger=csv"),
        *("trainer.accelerator=cpu", "data.source=prepared"),
    )
    assert done.status == 0, done.err
    assert not list(Path().rglob("*phantoms*/*.h5"))


def test_mistakes_of_shared_hq_are_one_sentence(command: Command, raw: Path) -> None:
    usual = ("raw_dir=raw", "jobs=1", "paths.prepared_dir=out")
    assert command("prepare", "task=mri", *usual).status == 0
    shared = ("task=mri_noise", "hq_from=out/mri.h5", *usual)
    for options, text in (
        (["hq_from=out/ct.h5"], "does not exist"),
        (["output=elsewhere/mri_noise.h5"], "different folders"),
        (["intensity_scale=2"], "out/mri.h5 has other HQ slices of patient"),
        (["seed=1"], "out/mri.h5 has other HQ slices of patient"),
        (["tasks.mri_noise.value_range=[0,1000]"], "has value_range (0.0, 4095.0)"),
    ):
        done = command("prepare", *shared, *options)
        assert done.status == 2
        assert text in done.err
        assert not Path("out/mri_noise.h5").exists()
    assert command("prepare", *shared).status == 0
    again = command("prepare", "task=mri_accel", "hq_from=out/mri_noise.h5", *usual)
    assert "holds no HQ of its own" in again.err
    # The base is prepared anew, with other content: the store beside it cannot be used any more.
    assert command("prepare", "task=mri", "tasks.mri.degradation.factor=2", *usual).status == 0
    tiny = ("network.width=8", "data.patch_size=16", "trainer.max_steps=1", "logger=csv")
    done = command("train", "task=mri_noise", "paths.prepared_dir=out", *tiny)
    assert done.status == 2
    assert "shares HQ with mri.h5, which was prepared anew since; prepare it with" in done.err


def test_two_tasks_cannot_write_one_store(command: Command, raw: Path) -> None:
    usual = ("raw_dir=raw", "jobs=1", "output=out/one.h5")
    assert command("prepare", "task=mri", *usual).status == 0
    before = Path("out/one.h5").read_bytes()
    done = command("prepare", "task=mri_noise", *usual)
    assert done.status == 2
    assert "out/one.h5 holds the task mri, and task=mri_noise would replace it" in done.err
    assert Path("out/one.h5").read_bytes() == before


def test_a_measured_lq_of_another_task_is_not_used(command: Command, tmp_path: Path) -> None:
    for number in range(4):
        scan(tmp_path / "raw" / f"P{number}" / "full.nii.gz", number, size=32)
        scan(tmp_path / "raw" / f"P{number}" / "low_dose.nii.gz", number + 50, size=32)
    found = {}
    for task, options in (("mri", []), ("mri_noise", []), ("mri_noise", ["measured=true"])):
        output = f"out{len(found)}.h5"
        typed = [f"tasks.{task}.{option}" for option in options]
        done = command(
            "prepare", f"task={task}", "raw_dir=raw", "dataset=pairs", f"output={output}", *typed
        )
        assert done.status == 0, done.err
        store = Store(Path(output))
        ref = store.slices("train")[0]
        found[len(found)] = (store.read(ref)[0], store.parameters(ref.patient))
    (measured, _), (simulated, drawn), (typed_lq, nothing) = found.values()
    np.testing.assert_array_equal(measured, typed_lq)
    assert not np.array_equal(measured, simulated)
    assert set(drawn) == {"level"}
    assert nothing == {}


IMPOSSIBLE = {
    "tasks.ct_sparse.degradation.views=0": "views is 0",
    "tasks.ct_sparse.degradation.views=50": "positive multiple of 4",
    "tasks.ct_dose.degradation.dose=0": "dose is 0",
    "tasks.ct_dose.degradation.dose.low=0": "low=0 and high=0.25",
    "tasks.ct_dose.degradation.dose=null": "is None, expected a finite",
    "tasks.mri_accel.degradation.factor=0.5": "factor is 0.5",
    "tasks.mri_accel.degradation.factor.values=[]": "values is empty",
    "tasks.mri_accel.degradation.power=-1": "power is -1",
    "tasks.mri_accel.degradation.even=often": "even is 'often'",
    "tasks.mri_noise.degradation.level=-3": "level is -3",
    "tasks.mri_noise.degradation.level=x": "is 'x', expected a finite",
    "tasks.mri_motion.degradation.degrees=180": "degrees is 180",
    "tasks.pet_dose.degradation.reduction.low=0.5": "reduction is LogUni",
    "tasks.pet_short.degradation.seconds=0": "seconds is 0",
    "tasks.pet_short.degradation.overlap=0.9": "overlap is 0.9",
}


@pytest.mark.parametrize("typed", IMPOSSIBLE)
def test_impossible_physics_is_one_sentence(typed: str) -> None:
    name = typed.split(".")[1]
    cfg = OmegaConf.create({"tasks": {name: {"degradation": dict(load_task(name).degradation)}}})
    cfg.merge_with_dotlist([typed])
    with pytest.raises(InstantiationException) as caught:
        instantiate(cfg.tasks[name].degradation)
    told = explain(caught.value, "train")
    assert told is not None
    assert IMPOSSIBLE[typed] in told
    assert "\n" not in told
    assert len(told) < 400


def test_commands_refuse_impossible_physics(train: Command, command: Command, raw: Path) -> None:
    """A number, a limit and what is no number: what the command line lets through."""
    typed = [key for key in IMPOSSIBLE if key.endswith(("views=0", "dose.low=0", "=x", "=null"))]
    assert len(typed) == 4
    for number, text in enumerate(typed):
        options = (f"task={text.split('.')[1]}", text)
        prepare = ("prepare", *options, "raw_dir=raw", "jobs=1")
        done = train(*options) if number % 2 else command(*prepare)
        assert done.status == 2
        assert IMPOSSIBLE[text] in done.err
        assert "Traceback" not in done.err
    assert not Path("runs").exists()
    assert not list(Path().rglob("*.h5"))


def test_raw_data_of_another_modality_is_one_sentence(command: Command) -> None:
    body(Path("raw/P0"))
    done = command("prepare", "task=mri_motion", "raw_dir=raw", "dataset=folder")
    assert done.status == 2
    assert "holds no scan for task mri_motion (4 x DICOM of modality CT)" in done.err


def test_restore_asks_for_the_task_and_simulates_it(seven: Path, command: Command) -> None:
    weights = f"weights={seven}"
    body(Path("in/A"))
    body(Path("in/B"))
    done = command("restore", weights, "input=in/A", "output=out")
    assert done.status == 2
    assert "the weights know several tasks of it, ct_dose, ct_sparse; type task=" in done.err
    assert not Path("out").exists()
    missing = command("restore", weights, "input=in", "output=out", "task=ct")
    told = "error: the weights were not trained on 'ct'; choose from ct_dose, ct_sparse"
    assert missing.err.count("the weights were not trained") == 1
    assert told in missing.err

    done = command("restore", weights, "input=in", "output=out", "task=ct_dose", "degrade=true")
    assert done.status == 0, done.err
    record = json.loads(Path("out/restore.json").read_text())
    doses = [one["drawn"]["dose"] for one in record["scans"]]
    assert doses[0] != doses[1]
    assert all(0.05 <= dose <= 0.25 for dose in doses)
    fixed = ("task=ct_dose", "degrade=true", "input=in", weights)
    beyond = command("restore", *fixed, "output=low", "tasks.ct_dose.degradation.dose=0.01")
    assert beyond.status == 0, beyond.err
    scores = [rows(Path(f"{place}/scores/tasks.csv"))[0] for place in ("out", "low")]
    assert float(scores[1]["input_psnr"]) < float(scores[0]["input_psnr"]) - 3
    record = json.loads(Path("low/restore.json").read_text())
    assert "drawn" not in record["scans"][0]


def test_a_long_scan_has_one_level_in_all_its_blocks(seven: Path, command: Command) -> None:
    voxels = brain(Path("in.nii.gz"), slices=20)
    voxels[:] = 900
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), "in.nii.gz")
    options = ("input=in.nii.gz", "output=out", "task=mri_noise", "degrade=true")
    done = command("restore", f"weights={seven}", *options)
    assert done.status == 0, done.err
    record = json.loads(Path("out/restore.json").read_text())
    level = record["scans"][0]["drawn"]["level"]
    (simulated,) = Path("out").glob("*lq*.nii*")
    noise = nib.load(simulated).get_fdata().std(axis=(0, 1))
    np.testing.assert_allclose(noise, level, rtol=0.12)


def test_contact_sheet_shows_every_task(seven: Path, command: Command) -> None:
    done = command("contact_sheet", ALL, "output=sheet.png", *TINY, *PATIENTS)
    assert done.status == 0, done.err
    sheet = np.asarray(Image.open("sheet.png"))[..., 0]
    for name in DRAWN:
        task, store = load_task(name), store_of(seven, name)
        refs = store.slices("test")
        own = [ref for ref in refs if ref.patient == refs[0].patient]
        lq, _ = store.read(own[len(own) // 2])
        shown = grey(lq, task.display_window)[..., 0]
        assert len(np.unique(shown)) > 20
        middle = shown[len(shown) // 2]  # LQ is on the left
        assert (sheet[:, : len(middle)] == middle).all(axis=1).any(), name


def test_fixed_for_is_what_a_store_records() -> None:
    for name, drawn in DRAWN.items():
        physics = instantiate(dict(load_task(name).degradation))
        known = fixed_for(physics, 7)
        assert all(isinstance(getattr(known, one), int | float) for one in drawn)


@pytest.mark.usefixtures("composing")
def test_the_experiment_has_as_many_steps_for_each_task() -> None:
    from amir_lightning.runs import sweep

    sets = "+experiment/task_set=one_ct_dose,five,eight"
    jobs = sweep.jobs("tasks", [sets, "scale=study"])
    assert [(job.network, len(job.tasks)) for job in jobs] == [
        (network, size) for network in ("restormer", "amir") for size in (1, 5, 8)
    ]
    assert all(job.cfg.trainer.max_steps == 1000 * len(job.tasks) for job in jobs)
    assert set(jobs[-1].tasks) == {*known_tasks()} - {"mri_motion", "pet_short"}
    for scale in ("demo", "study", "paper"):
        steps = sweep.jobs("tasks", ["+experiment/task_set=one_ct", f"scale={scale}"])[0].cfg
        for word, number in (("one", 1), ("two", 2), ("three", 3), ("five", 5), ("eight", 8)):
            each = steps.experiment_task_steps[word] / number
            assert each == pytest.approx(steps.trainer.max_steps, rel=1e-4)
    (fixed,) = sweep.jobs(
        "tasks",
        ["+experiment/task_set=eight", "+experiment/method=tat", "trainer.max_steps=4000"],
    )
    assert (fixed.cfg.trainer.max_steps, fixed.network) == (4000, "tat")


def test_a_table_of_eight_tasks(command: Command, composing: None, tmp_path: Path) -> None:
    from written_runs import plain_scores, write_run

    from amir_lightning.runs import sweep

    options = ["+experiment/method=restormer,amir", "+experiment/task_set=eight"]
    for job in sweep.jobs("tasks", options):
        write_run(job, tmp_path / "runs", plain_scores)
    done = command("tabulate", "experiment=tasks", "output=out", "bootstrap=5", *options)
    assert done.status == 0, done.err
    table = Path("out/table.md").read_text()
    for name in {*known_tasks()} - {"mri_motion", "pet_short"}:
        assert load_task(name).title in table


def test_policies_of_sampling_are_rows_of_a_table(
    command: Command, composing: None, tmp_path: Path
) -> None:
    from written_runs import plain_scores, write_run

    from amir_lightning.runs import sweep

    jobs = sweep.jobs("sampling", ["scale=study"])
    assert {job.cfg.tasks.pet_dose.phantom_slices for job in jobs} == {32}
    assert {job.cfg.tasks.ct.phantom.num_slices for job in jobs} == {8}
    for job in jobs:
        write_run(job, tmp_path / "runs", plain_scores, name=job.cfg.sampling.policy)
    done = command("tabulate", "experiment=sampling", "scale=study", "output=out", "bootstrap=5")
    assert done.status == 0, done.err
    lines = Path("out/table.md").read_text().splitlines()
    for policy in ("proportional", "temperature", "balanced"):
        assert any(line.startswith(f"| AMIR (sampling={policy}) |") for line in lines)
    assert any(
        "AMIR: AMIR (sampling=proportional), the first of its rows." in line for line in lines
    )


def test_scores_are_not_split_by_what_no_scored_patient_has() -> None:
    rows = [{"task": "ct_dose", "patient": "a", "index": 0, "psnr": 30.0}]
    with pytest.raises(InputError, match="drawn for none of the scored patients; type split="):
        split_scores(rows, {"ct_dose": {"b": 0.1}}, groups=4, bootstrap=0, seed=0)
