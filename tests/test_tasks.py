"""Every task through the public commands: patients, prepared scans, training, scores, scans."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import Command
from PIL import Image
from test_prepare import scan
from test_restore import body, brain

from amir_lightning.data.pairs import patient_seed
from amir_lightning.data.store import Store, patient_id
from amir_lightning.degradation import OneOf, fixed_for
from amir_lightning.degradation.parameters import LogUniform, value_of
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


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(4):
        scan(tmp_path / "raw" / f"P{number}.nii.gz", number, size=32)
    return tmp_path / "raw"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def folder_of(pattern: str) -> Path:
    (folder,) = Path("runs").glob(pattern)
    return folder


def test_the_tasks_are_those_of_the_package() -> None:
    assert known_tasks() == ["mri", "ct", "pet", *sorted(DRAWN)]


@pytest.mark.parametrize("name", DRAWN)
def test_a_task_has_the_ranges_and_patients_of_its_modality(name: str) -> None:
    task, modality = load_task(name), load_task(name.split("_")[0])
    for key in ("units", "value_range", "score_range", "display_window", "plane", "plausible"):
        assert getattr(task, key) == getattr(modality, key)
    assert task.phantom == modality.phantom
    assert task.dicom_modality == modality.dicom_modality


def test_all_tasks_are_trained_scored_and_shown(train: Command, command: Command) -> None:
    """Also that the parameters of each patient are recorded, and split the scores."""
    done = train(ALL, "trainer.max_steps=1", "validation.every=1", "data.phantoms.test=3")
    assert done.status == 0, done.err
    folder = folder_of("ct_dose*")
    record = json.loads((folder / "run.json").read_text())
    for name, drawn in DRAWN.items():
        store = Store(Path(record["data"][name]["file"]), name)
        found = [store.parameters(patient) for patient in store.patients("test")]
        assert len(found) == 3
        assert all(set(one) == drawn for one in found)
        lq, hq = store.read(store.slices("test")[0])
        assert not np.array_equal(lq, hq)
        assert load_task(name).title in done.out

    evaluated = command("evaluate", "by=dose", "by_groups=2", "bootstrap=20")
    assert evaluated.status == 0, evaluated.err
    store = Store(Path(record["data"]["ct_dose"]["file"]))
    doses = {one: store.parameters(one)["dose"] for one in store.patients("test")}
    low, high = parts = rows(folder / "evaluation/test/by_dose.csv")
    assert {part["task"] for part in parts} == {"ct_dose"}
    assert {part["patients"] for part in parts} == {"1", "2"}
    assert float(low["dose_low"]) == min(doses.values())
    assert float(high["dose_high"]) == max(doses.values())
    scored = [
        one for one in rows(folder / "evaluation/test/slices.csv") if one["task"] == "ct_dose"
    ]
    for part in parts:
        inside = [
            float(one["psnr"])
            for one in scored
            if float(part["dose_low"]) <= doses[one["patient"]] <= float(part["dose_high"])
        ]
        assert len(inside) == int(part["slices"])
        assert float(part["psnr"]) == pytest.approx(np.mean(inside))
    assert "by_dose.csv" in evaluated.out

    mistaken = command("evaluate", "by=reductions")
    assert mistaken.status == 2
    assert "by=reductions is no parameter that was drawn" in mistaken.err
    assert "ct_dose: dose; ct_sparse: views; mri_accel: factor" in mistaken.err

    for other in (["draw", "draw=curves"], ["dashboard"]):
        shown = command(*other)
        assert shown.status == 0, shown.err


def test_the_dose_of_an_embedded_patient_is_a_function_of_its_seed(train: Command) -> None:
    assert train("task=ct_dose", "trainer.max_steps=1", "data.phantoms.seed=2").status == 0
    record = json.loads((folder_of("ct_dose*") / "run.json").read_text())
    store = Store(Path(record["data"]["ct_dose"]["file"]))
    (tested,) = store.patients("test")
    # The last of two, one and one patient.
    assert store.parameters(tested) == {"dose": value_of(LogUniform(0.05, 0.25), "dose", 20_003)}


def test_a_number_in_place_of_the_range_is_that_number(train: Command) -> None:
    quick = ("task=ct_dose", "trainer.max_steps=1")
    done = train(*quick, "tasks.ct_dose.degradation.dose=0.1")
    assert done.status == 0, done.err
    record = json.loads((folder_of("ct_dose*") / "run.json").read_text())
    store = Store(Path(record["data"]["ct_dose"]["file"]))
    assert store.parameters(store.patients("test")[0]) == {}
    assert store.degradation["dose"] == 0.1


def test_a_run_is_scored_beyond_the_doses_of_its_training(
    train: Command, command: Command, data_dir: Path
) -> None:
    options = ("task=ct_dose", "trainer.max_steps=1", "data.phantoms.test=3")
    assert train(*options, "tasks.ct.degradation.photons=7e4").status == 0
    folder = folder_of("ct_dose*")
    low, high = (f"tasks.ct_dose.degradation.dose.{one}" for one in ("low=0.004", "high=0.01"))
    done = command("evaluate", "by=dose", "by_groups=0", "source=phantoms", low, high)
    assert done.status == 0, done.err
    scored = "test-phantoms-ct_dose.dose.low=0.004-ct_dose.dose.high=0.01"
    beyond = rows(folder / f"evaluation/{scored}/by_dose.csv")
    assert len(beyond) == 3
    assert all(0.004 <= float(one["dose_low"]) <= 0.01 for one in beyond)
    trained = rows(folder / "evaluation/test/tasks.csv")[0]
    mean = np.mean([float(one["input_psnr"]) for one in beyond])
    assert mean < float(trained["input_psnr"]) - 1
    stores = [Store(path).degradation for path in data_dir.rglob("ct_dose*.h5")]
    (used,) = [one for one in stores if "0.004" in str(one["dose"])]
    assert used["photons"] == 7e4  # what is not typed is that of the training
    for typed, text in (
        ([low], "needs patients that are scanned with it; type source=phantoms"),
        (["source=phantoms", "tasks.ct_dose.title=x"], "is no parameter of a degradation of this"),
        (["source=phantoms", "tasks.mri_noise.degradation.level=9"], "is no parameter of a degr"),
        (["source=phantoms", "tasks.ct_dose.degradation.dose=0"], "dose is 0"),
    ):
        refused = command("evaluate", *typed)
        assert refused.status == 2
        assert text in refused.err


def test_more_numbers_to_draw_from_may_be_typed(command: Command) -> None:
    values = "tasks.mri_accel.degradation.factor.values=[3,6,12]"
    sizes = ("tasks.mri.phantom.size=48", "tasks.mri.phantom_slices=1", "data.phantoms.train=12")
    done = command("contact_sheet", "task=mri_accel", "paths.data_dir=data", values, *sizes)
    assert done.status == 0, done.err
    store = Store(next(Path("data").rglob("*.h5")))
    found = {store.parameters(patient)["factor"] for patient in store.patients("train")}
    assert found == {3, 6, 12}


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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["task=ct_sparse", "tasks.ct_sparse.degradation.views=0"], "views is 0"),
        (["task=ct_sparse", "tasks.ct_sparse.degradation.views=50"], "positive multiple of 4"),
        (["task=ct_dose", "tasks.ct_dose.degradation.dose=0"], "dose is 0"),
        (["task=ct_dose", "tasks.ct_dose.degradation.dose.low=0"], "low=0 and high=0.25"),
        (["task=mri_accel", "tasks.mri_accel.degradation.factor=0.5"], "factor is 0.5"),
        (["task=mri_accel", "tasks.mri_accel.degradation.factor.values=[]"], "values is empty"),
        (["task=mri_noise", "tasks.mri_noise.degradation.level=-3"], "level is -3"),
        (["task=mri_noise", "tasks.mri_noise.degradation.level=x"], "is 'x', expected a finite"),
        (["task=ct_dose", "tasks.ct_dose.degradation.dose=null"], "is None, expected a finite"),
        (["task=mri_motion", "tasks.mri_motion.degradation.degrees=180"], "degrees is 180"),
        (["task=pet_dose", "tasks.pet_dose.degradation.reduction.low=0.5"], "reduction is LogUni"),
        (["task=pet_short", "tasks.pet_short.degradation.seconds=0"], "seconds is 0"),
        (["task=pet_short", "tasks.pet_short.degradation.overlap=0.9"], "overlap is 0.9"),
    ],
)
def test_impossible_physics_is_one_sentence(
    train: Command, command: Command, raw: Path, options: list[str], text: str
) -> None:
    for done in (train(*options), command("prepare", *options, "raw_dir=raw", "jobs=1")):
        assert done.status == 2
        assert text in done.err
        assert len(done.err.strip().splitlines()[-1]) < 400
        assert "Traceback" not in done.err
    assert not Path("runs").exists()


def test_raw_data_of_another_modality_is_one_sentence(command: Command) -> None:
    body(Path("raw/P0"))
    done = command("prepare", "task=mri_motion", "raw_dir=raw", "dataset=folder")
    assert done.status == 2
    assert "holds no scan for task mri_motion (4 x DICOM of modality CT)" in done.err


def test_restore_asks_for_the_task_and_simulates_it(train: Command, command: Command) -> None:
    trained = ("task=ct+ct_sparse+ct_dose", "trainer.max_steps=1")
    assert train(*trained).status == 0
    weights = f"weights={folder_of('ct*')}"
    body(Path("in/A"))
    body(Path("in/B"))
    done = command("restore", weights, "input=in/A", "output=out")
    assert done.status == 2
    assert "the weights know several tasks of it, ct, ct_dose, ct_sparse; type task=" in done.err
    assert not Path("out").exists()
    missing = command("restore", weights, "input=in/A", "output=out", "task=mri_noise")
    assert "the weights were not trained on 'mri_noise'; choose from ct, ct_dose, ct_sparse" in (
        missing.err
    )

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


def test_a_long_scan_has_one_level_in_all_its_blocks(train: Command, command: Command) -> None:
    assert train("task=mri_noise", "trainer.max_steps=1").status == 0
    voxels = brain(Path("in.nii.gz"), slices=20)
    voxels[:] = 900
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), "in.nii.gz")
    weights = f"weights={folder_of('mri_noise*')}"
    done = command("restore", weights, "input=in.nii.gz", "output=out", "degrade=true")
    assert done.status == 0, done.err
    record = json.loads(Path("out/restore.json").read_text())
    level = record["scans"][0]["drawn"]["level"]
    (simulated,) = Path("out").glob("*lq*.nii*")
    noise = nib.load(simulated).get_fdata().std(axis=(0, 1))
    np.testing.assert_allclose(noise, level, rtol=0.12)


@pytest.mark.parametrize("name", DRAWN)
def test_contact_sheet_shows_every_task(command: Command, name: str) -> None:
    tiny = ["tasks.mri.phantom.size=64", "tasks.ct.phantom.size=64", "tasks.pet.phantom.size=48"]
    tiny += [
        "tasks.mri.phantom_slices=2",
        "tasks.ct.phantom_slices=2",
        "tasks.pet.phantom_slices=2",
    ]
    tiny += ["tasks.pet.phantom.num_slices=100", "data.phantoms.train=2", "data.phantoms.val=1"]
    tiny += ["data.phantoms.test=1"]
    done = command("contact_sheet", f"task={name}", "output=sheet.png", *tiny)
    assert done.status == 0, done.err
    pixels = np.asarray(Image.open("sheet.png").convert("L"))
    assert len(np.unique(pixels)) > 20


def test_fixed_for_is_what_a_store_records() -> None:
    from hydra.utils import instantiate

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
