"""The ``prepare`` command: checks, units, duplicates, parallel work, and continuing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from conftest import Command
from dicom_files import write_slice

from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store, patient_id


def scan(path: Path, seed: int, slices: int = 6, size: int = 20, scale: float = 500.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    voxels = rng.uniform(scale / 2, scale, (size, size, slices)).astype(np.float32)
    voxels[:2] = 0
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(5):
        scan(tmp_path / "raw" / f"P{number}.nii.gz", number)
    return tmp_path / "raw"


QUICK = ("task=mri", "raw_dir=raw", "jobs=1", "output=out/mri.h5")


def test_the_table_comes_before_anything_is_written(command: Command, raw: Path) -> None:
    done = command("prepare", *QUICK, "check=true")
    assert done.status == 0
    assert not Path("out").exists()
    for text in ("train", "20x20", "3.00x1.00x1.00", "HQ [a.u.]", "nothing wrong was found"):
        assert text in done.out
    assert "raw is read as dataset=folder" in done.err


def test_a_warning_about_a_scan_is_said_once(command: Command, raw: Path) -> None:
    image = nib.load(raw / "P0.nii.gz")
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(image.get_fdata(), None, image.header), raw / "P0.nii.gz")
    done = command("prepare", *QUICK)
    assert done.status == 0
    assert done.err.count("P0.nii.gz has no orientation") == 1


def test_check_lists_everything_that_is_wrong(command: Command, raw: Path) -> None:
    cut = raw / "P0.nii.gz"
    cut.write_bytes(cut.read_bytes()[:900])
    scan(raw / "P1.nii.gz", 1, scale=1.0)
    image = nib.load(raw / "P2.nii.gz")
    voxels = image.get_fdata(dtype=np.float32)
    voxels[3, 3, 2] = np.nan
    nib.save(nib.Nifti1Image(voxels, image.affine), raw / "P2.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5, 3), np.float32), np.eye(4)), raw / "P3.nii.gz")
    done = command("prepare", *QUICK, "check=true")
    assert done.status == 2
    problems = [line for line in done.out.splitlines() if line.startswith("problem:")]
    assert len(problems) == 4
    for name, text in [
        ("P0", "may be truncated"),
        ("P1", "not a.u."),
        ("P2", "1 NaN or infinite voxel in plane 3"),
        ("P3", "5x5x5x3; expected one 3-D scan"),
    ]:
        assert any(name in line and text in line for line in problems), text
    stopped = command("prepare", *QUICK)
    assert stopped.status == 2
    assert "(and 3 more); on_error=skip" in stopped.err
    assert not Path("out").exists()
    shares = ("split.train=1.0", "on_error=skip")
    assert command("prepare", *QUICK, *shares).status == 0
    assert Store(Path("out/mri.h5")).patients("train") == [patient_id("P4")]


def test_the_same_scan_in_two_splits_is_found_by_its_pixels(command: Command, raw: Path) -> None:
    (raw / "copy.nii.gz").write_bytes((raw / "P3.nii.gz").read_bytes())
    rows = "\n".join(f"P{number},train" for number in range(5))
    Path("splits.csv").write_text(f"patient,split\n{rows}\ncopy,test\n")
    done = command("prepare", *QUICK, "split_file=splits.csv")
    assert done.status == 2
    assert "patients P3 (train) and copy (test) share slices" in done.err.replace("\n", " ") or (
        "patients copy (test) and P3 (train) share slices" in done.err
    )
    Path("splits.csv").write_text(f"patient,split\n{rows}\ncopy,train\n")
    assert command("prepare", *QUICK, "split_file=splits.csv").status == 0


def test_the_manifest_holds_hashes_and_no_names(command: Command, raw: Path) -> None:
    import hashlib

    assert command("prepare", *QUICK, "salt=secret").status == 0
    text = Path("out/mri.manifest.json").read_text()
    manifest = json.loads(text)
    store = Store(Path("out/mri.h5"))
    assert manifest["fingerprint"] == store.fingerprint
    ids = {patient_id(f"P{number}", "secret") for number in range(5)}
    assert set(manifest["patients"]) == ids == {p for s in SPLITS for p in store.patients(s)}
    digest = hashlib.sha256((raw / "P0.nii.gz").read_bytes()).hexdigest()
    assert manifest["patients"][patient_id("P0", "secret")]["sources"] == [digest]
    assert "nii" not in text
    assert "secret" not in text


def test_nobody_is_asked_for_a_test_patient_that_nobody_typed(command: Command) -> None:
    for patient in ("L067", "L096", "L109"):
        for level, dose in ((1000, "full"), (1100, "quarter")):
            for slice_ in range(3):
                noise = np.random.default_rng([int(patient[1:]), slice_]).integers(0, 90, (24, 24))
                stored = (noise + level).astype(np.uint16)
                stored[:3] = 24  # air
                folder = Path("raw") / patient / f"{dose}_3mm"
                write_slice(
                    folder / f"{slice_}.dcm",
                    stored,
                    (0.0, 0.0, 3.0 * slice_),
                    PatientID=patient,
                    SeriesInstanceUID=f"1.2.1{patient[1:]}.{level}",
                )
    usual = ("task=ct", "raw_dir=raw", "jobs=1", "output=out/ct.h5")
    sizes = ("split.train=1", "split.val=1", "split.test=1")
    done = command("prepare", *usual, *sizes)
    assert done.status == 0, done.err
    assert "raw is read as dataset=mayo" in done.err
    done = command("prepare", *usual, *sizes, "test_patients=[L506]")
    assert done.status == 2
    assert "test_patients names L506, which was not found" in done.err


def test_a_grid_crops_and_pads_around_the_centre(command: Command, raw: Path) -> None:
    options = ("grid=[16,24]", "tasks.mri.degradation.factor=2")
    assert command("prepare", *QUICK, *options).status == 0
    store = Store(Path("out/mri.h5"))
    (ref, *_) = store.slices("train")
    key = next(n for n in range(5) if patient_id(f"P{n}") == ref.patient)
    source = nib.load(raw / f"P{key}.nii.gz").get_fdata(dtype=np.float32)[:, :, ref.slice_index].T
    lq, hq = store.read(ref)
    assert hq.shape == (16, 24)
    np.testing.assert_array_equal(hq[:, 2:22], source[2:18])
    assert not hq[:, :2].any()
    assert not hq[:, 22:].any()
    # The first pixel lies two columns outside and two rows inside the source.
    np.testing.assert_allclose(store.affine(ref.patient) @ [2, 0, 0, 1], [0, -2, 0, 1])
    assert store.degradation["factor"] == 2
    assert not np.array_equal(lq, hq)


def test_presets_are_used_where_the_user_says_nothing(command: Command, tmp_path: Path) -> None:
    for number in range(6):
        scan(tmp_path / "IXI-T2" / f"IXI{number:03d}-Guys-0828-T2.nii.gz", number, 104, 64)
    done = command("prepare", "task=mri", "raw_dir=IXI-T2", "jobs=1", "output=out/mri.h5")
    assert done.status == 0
    assert "dataset=ixi" in done.err
    assert "6 patients found, not 578: split in the proportions 405, 59, 114" in done.err
    store = Store(Path("out/mri.h5"))
    assert [len(store.patients(split)) for split in SPLITS] == [4, 1, 1]
    assert store.shape(store.slices("test")[0]) == (256, 256)
    assert [ref.slice_index for ref in store.slices("test")] == list(range(2, 102))


def test_named_patients_are_tested_on(command: Command, raw: Path) -> None:
    assert command("prepare", *QUICK, "test_patients=[P3]").status == 0
    assert Store(Path("out/mri.h5")).patients("test") == [patient_id("P3")]
    done = command("prepare", *QUICK, "test_patients=[P9]")
    assert done.status == 2
    assert "test_patients names P9, which was not found; expected some of P0, P1" in done.err


def test_test_patients_are_never_cut_into_blocks_that_train(command: Command, raw: Path) -> None:
    for number in range(2, 5):
        (raw / f"P{number}.nii.gz").unlink()
    done = command("prepare", *QUICK, "test_patients=[P1]")
    assert done.status == 2
    assert "2 patients cannot fill the splits train, val, test, so that test_patients" in done.err
    assert not Path("out").exists()
    assert command("prepare", *QUICK).status == 0  # without them each volume is cut


@pytest.mark.parametrize("options", [("jobs=2", "backend=loky"), ("jobs=3", "backend=threading")])
def test_the_store_does_not_depend_on_the_workers(
    command: Command, raw: Path, options: tuple[str, ...]
) -> None:
    assert command("prepare", *QUICK).status == 0
    other = ("task=mri", "raw_dir=raw", "output=other/mri.h5")
    assert command("prepare", *other, *options).status == 0
    assert Store(Path("out/mri.h5")).fingerprint == Store(Path("other/mri.h5")).fingerprint


@pytest.mark.slow
def test_dask_spreads_the_same_work(command: Command, raw: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        done = command("prepare", *QUICK, "backend=dask", f"scheduler='{address}'")
        assert done.status == 0
    assert command("prepare", "task=mri", "raw_dir=raw", "jobs=1", "output=o/mri.h5").status == 0
    assert Store(Path("out/mri.h5")).fingerprint == Store(Path("o/mri.h5")).fingerprint


@pytest.mark.slow
def test_a_killed_preparation_goes_on(command: Command, tmp_path: Path) -> None:
    """After a kill only the patients that were not finished are processed again."""
    for number in range(3):
        rng = np.random.default_rng(number)
        voxels = rng.uniform(-100, 100, (96, 96, 24)).astype(np.float32)
        voxels[:8] = -1000
        path = tmp_path / "raw" / f"P{number}.nii"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.diag([-2.0, -2.0, 3.0, 1.0])), path)
    options = ["task=ct", "raw_dir=raw", "jobs=1", "output=out/ct.h5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "amir_lightning.prepare", *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parts = tmp_path / "out" / ".ct.h5.parts"
    deadline = time.monotonic() + 120
    while not list(parts.glob("[!.]*.h5")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "ct.h5").exists()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("[!.]*.h5")}
    assert 0 < len(kept) <= 3
    done = command("prepare", *options)
    assert done.status == 0
    assert f"continuing: {len(kept)} of 3 patients done" in done.err
    assert not parts.exists()
    fresh = command("prepare", "task=ct", "raw_dir=raw", "jobs=1", "output=fresh/ct.h5")
    assert fresh.status == 0
    assert Store(Path("out/ct.h5")).fingerprint == Store(Path("fresh/ct.h5")).fingerprint


def test_parts_of_other_options_are_not_used(command: Command, raw: Path) -> None:
    parts = Path("out/.mri.h5.parts")
    parts.mkdir(parents=True)
    with h5py.File(parts / "0123456789abcdef01234567.h5", "w") as file:
        file["lq"] = np.zeros(3)
    done = command("prepare", *QUICK)
    assert done.status == 0
    assert "continuing" not in done.err
    assert not parts.exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["dataset=kits"], "choose from auto, ixi, mayo, fastmri, bids, pairs, archive"),
        (["dataset=table"], "type layout_options.table=<csv>"),
        (["layout_options.kernel=B30"], "dataset=folder has no option layout_options.kernel"),
        (["grid=[16]"], "expected rows and columns"),
        (["backend=spark"], "choose from loky, threading, dask"),
        (["backend=dask"], "type scheduler=tcp://"),
        (["test_patients=100307"], "type test_patients=[<patient>,<patient>]"),
        (["jobs=0"], "type jobs=-1"),
        (["on_error=ignore"], "choose from stop, skip"),
        (["intensity_scale=0.0"], "intensity_scale is 0.0"),
        (["output=raw"], "is a folder"),
        (["raw_dir=nowhere"], "does not exist"),
        (["raw_dir="], "raw_dir is empty; type raw_dir=<value>, or leave that option out"),
        (["layout_options.hq=*/180s/*", "layout_options.lq=*/15s/*"], "expected <patient>/<full"),
        (["task=ct"], "which are not HU"),
        (["dataset=ixi"], "expected files named IXI*-T2.nii.gz"),
        (["dataset=archive"], "is not the authors' archive"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, raw: Path, options: list[str], text: str
) -> None:
    done = command("prepare", *QUICK, *options)
    assert done.status == 2
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert text in sentence
    assert not Path("out").exists()


_opens: Counter[str] | None = None


def _count_opens(event: str, arguments: tuple[object, ...]) -> None:
    if _opens is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
        _opens[os.fspath(arguments[0])] += 1


@pytest.fixture
def opens() -> Iterator[Counter[str]]:
    """Number of times each file was opened by any function of this process."""
    global _opens
    if _opens is None:
        sys.addaudithook(_count_opens)  # it cannot be removed
    _opens = Counter()
    yield _opens
    _opens.clear()


@pytest.mark.parametrize("layout", ["folder", "pairs"])
def test_each_dicom_file_is_opened_four_times(
    command: Command, tmp_path: Path, opens: Counter[str], layout: str
) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        for dose in ("full",) if layout == "folder" else ("full", "low"):
            for height in range(3):
                write_slice(
                    tmp_path / "raw" / f"P{number}" / dose / f"{height}.dcm",
                    rng.integers(900, 1200, (16, 16)).astype(np.uint16),
                    (0.0, 0.0, 3.0 * height),
                    PatientID=f"P{number}",
                    SeriesInstanceUID=f"1.{number}.{len(dose)}",
                    PixelSpacing=[1.0, 1.0],
                )
    opens.clear()
    options = (
        "task=ct",
        "raw_dir=raw",
        f"dataset={layout}",
        "jobs=1",
        "force_units=true",
        "output=ct.h5",
    )
    assert command("prepare", *options).status == 0
    counts = {path: count for path, count in opens.items() if path.endswith(".dcm")}
    assert len(counts) == (9 if layout == "folder" else 18)
    # To group files by their headers, to hash them, to inspect all pixels, and to simulate.
    assert set(counts.values()) == {4}
