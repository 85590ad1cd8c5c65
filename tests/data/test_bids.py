"""Layout ``bids``: subjects, sessions and suffixes; a subject has one split."""

import json
import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import Command

from amir_lightning.data.layouts import detect
from amir_lightning.data.layouts.bids import bids
from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store, patient_id
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import summarise
from amir_lightning.tasks import load_task

MRI = load_task("mri")


def scan(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    voxels = rng.uniform(250, 500, (10, 8, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A data set as the specification describes one: two sessions of two subjects, one of two."""
    raw = tmp_path / "raw"
    for subject, sessions in (("01", "ab"), ("02", "ab"), ("03", "a"), ("04", "a")):
        for session in sessions:
            stem = f"sub-{subject}_ses-{session}"
            folder = raw / f"sub-{subject}" / f"ses-{session}"
            for suffix in ("T1w", "T2w"):
                scan(folder / "anat" / f"{stem}_{suffix}.nii.gz")
                (folder / "anat" / f"{stem}_{suffix}.json").write_text('{"EchoTime": 0.1}')
            scan(folder / "func" / f"{stem}_task-rest_bold.nii.gz")
            (folder / f"{stem}_scans.tsv").write_text("filename\tacq_time\n")
    description = {"Name": "Test", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (raw / "dataset_description.json").write_text(json.dumps(description))
    rows = "".join(f"sub-0{number}\t30\n" for number in range(1, 5))
    (raw / "participants.tsv").write_text(f"participant_id\tage\n{rows}")
    (raw / "README").write_text("A data set.")
    scan(raw / "derivatives" / "prep" / "sub-01" / "anat" / "sub-01_desc-preproc_T2w.nii.gz")
    scan(raw / "sourcedata" / "sub-01_T2w.nii.gz")
    return raw


def test_subjects_sessions_and_suffixes(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        patients, skipped = bids(raw, MRI)
    assert [one.key for one in patients] == [
        *("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-02_ses-b"),
        *("sub-03_ses-a", "sub-04_ses-a"),
    ]
    assert [one.identity for one in patients] == [one.key[:6] for one in patients]
    assert all(one.files[0].name == f"{one.key}_T2w.nii.gz" for one in patients)
    assert patients[0].read().hq.array.shape == (3, 8, 10)
    assert summarise(skipped) == (
        "1 x file of derivatives, 1 x file of sourcedata, 18 x no NIfTI file, "
        "3 x no file of a subject, 6 x suffix T1w, 6 x suffix bold"
    )
    assert not caplog.text
    assert detect(raw, MRI) == "bids"
    assert [one.key for one in bids(raw, MRI, session="b").patients] == [
        "sub-01_ses-b",
        "sub-02_ses-b",
    ]
    t1 = bids(raw, MRI, suffix="T1w", session="ses-a").patients
    assert [one.files[0].name[7:] for one in t1] == ["ses-a_T1w.nii.gz"] * 4
    derived, _ = bids(raw / "derivatives" / "prep", MRI)
    assert [one.key for one in derived] == ["sub-01"]


def test_a_subject_has_one_split(command: Command, raw: Path) -> None:
    for seed in range(3):
        options = ("task=mri", f"raw_dir={raw}", "jobs=1", f"output={seed}.h5", f"seed={seed}")
        done = command("prepare", *options)
        assert done.status == 0, done.err
        assert "is read as dataset=bids" in done.err
        store = Store(Path(f"{seed}.h5"))
        for subject in ("sub-01", "sub-02"):
            visits = {patient_id(f"{subject}_ses-{one}") for one in "ab"}
            assert sum(visits <= set(store.patients(split)) for split in SPLITS) == 1
    done = command("prepare", *options, "test_patients=[sub-02]")
    assert done.status == 0, done.err
    visits = {patient_id("sub-02_ses-a"), patient_id("sub-02_ses-b")}
    assert visits == set(Store(Path("2.h5")).patients("test"))
    keys = ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-02_ses-b")
    names = (*keys, "sub-03_ses-a", "sub-04_ses-a")
    for parted in (False, True):
        splits = ["train", "test" if parted else "train", "val", "val", "test", "test"]
        lines = [f"{name},{split}\n" for name, split in zip(names, splits, strict=True)]
        Path("splits.csv").write_text("patient,split\n" + "".join(lines))
        done = command("prepare", *options, "split_file=splits.csv")
        assert done.status == (2 if parted else 0)
    assert "error: patient sub-01 is in two splits, train and test" in done.err


def test_two_scans_of_a_session_are_one_sentence(raw: Path) -> None:
    folder = raw / "sub-01" / "ses-a" / "anat"
    scan(folder / "sub-01_ses-a_run-2_T2w.nii.gz")
    with pytest.raises(InputError, match=r"_run-2_T2w.nii.gz are two T2w scans of one ses"):
        bids(raw, MRI)
    with pytest.raises(InputError, match=r"type layout_options.entity=run-2 to choose, or list"):
        bids(raw, MRI)
    (only,) = bids(raw, MRI, entity="run-2").patients
    assert only.files[0].name == "sub-01_ses-a_run-2_T2w.nii.gz"
    (raw / ".bidsignore").write_text("# a repeated run\n**/*_run-2_*\n")
    assert len(bids(raw, MRI).patients) == 6
    (raw / ".bidsignore").unlink()
    (folder / "sub-01_ses-a_run-2_T2w.nii.gz").rename(folder / "sub-01_ses-a_T2w.nii")
    with pytest.raises(InputError, match=r"expected one; list one of them in \.bidsignore"):
        bids(raw, MRI)


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("sub-01/\n", ["sub-02", "sub-03", "sub-04"]),
        ("/sub-02\n\nsub-0[3\n", ["sub-01", "sub-03", "sub-04"]),
        ("sub-*/ses-a/anat/*_T2w.nii.gz\n", ["sub-01", "sub-02"]),
        ("sub-0?\n!sub-03\n", ["sub-03"]),
        ("anat/*\nses-a\n!sub-01/**/sub-01*\n", ["sub-01", "sub-02"]),
        ("nothing/**\n", ["sub-01", "sub-02", "sub-03", "sub-04"]),
    ],
)
def test_bidsignore(raw: Path, rules: str, left: list[str]) -> None:
    (raw / ".bidsignore").write_text(rules)
    patients, skipped = bids(raw, MRI)
    assert sorted({one.identity for one in patients}) == left
    assert ("listed in .bidsignore" in summarise(skipped)) == (len(left) < 4)


def test_traps(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan(raw / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_part-phase_T2w.nii.gz")
    scan(raw / "sub-01" / "ses-a" / "anat" / "localizer.nii.gz")
    (raw / "sub-03" / "ses-a" / "anat" / "sub-03_ses-a_T2w.nii.gz").unlink()
    with (raw / "participants.tsv").open("a") as file:
        file.write("sub-05\t41\n")
    with caplog.at_level(logging.WARNING):
        patients, skipped = bids(raw, MRI)
    assert len(patients) == 5
    assert "2 subjects without a T2w scan: sub-03, sub-05" in caplog.text
    assert "1 x NIfTI with a name that BIDS has not" in summarise(skipped)
    assert "1 x phase, real or imaginary part" in summarise(skipped)
    other = raw / "sub-04" / "ses-a" / "anat" / "sub-04_ses-a_T2w.nii.gz"
    other.rename(other.with_name("sub-03_ses-a_T2w.nii.gz"))
    with pytest.raises(InputError, match=r"lies in sub-04/ses-a and is named sub-03_ses-a, expec"):
        bids(raw, MRI)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["layout_options.suffix=FLAIR"], "names such as sub-01/anat/sub-01_FLAIR.nii.gz"),
        (["layout_options.session=c"], "6 x not ses-c"),
        (["layout_options.entity=acq-tse"], "6 x not acq-tse"),
        (["layout_options.acquisition=AXT2"], "dataset=bids has no option layout_options.acq"),
        (["task=ct"], "names such as sub-01/anat/sub-01_ct.nii.gz"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, raw: Path, options: list[str], text: str
) -> None:
    done = command("prepare", "task=mri", f"raw_dir={raw}", "dataset=bids", "jobs=1", *options)
    assert done.status == 2
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert text in sentence
