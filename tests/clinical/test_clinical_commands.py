"""Clinical measures through the public commands, on a tiny run."""

import csv
from pathlib import Path

import pytest
from conftest import Command
from PIL import Image

QUICK = [
    "measures.draws.patients=1",
    "measures.draws.count=2",
    "measures.draws.slices=1",
    "measures.noise.side=6",
    "measures.inserts.MR.radius_mm=4",
    "measures.inserts.CT.radius_mm=8",
    "measures.inserts.PT.radius_mm=14",
    "bootstrap=20",
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_measured_by_evaluate_and_compared_by_clinical(
    train: Command, command: Command
) -> None:
    assert train("task=mri+ct+pet").status == 0
    (run,) = Path("runs").glob("mri*")
    scores = (run / "evaluation" / "test" / "slices.csv").read_text()
    done = command("evaluate", "clinical=true", *QUICK)
    assert done.status == 0, done.err
    assert "left out of ct: the model observer has" in done.out  # one test patient
    folder = run / "evaluation" / "test"
    assert (folder / "slices.csv").read_text() == scores

    overall = rows(folder / "clinical_tasks.csv")
    for task, unit in (("mri", "a.u."), ("ct", "HU"), ("pet", "SUV")):
        own = {(row["measure"], row["level"]): row for row in overall if row["task"] == task}
        assert own["organ_error", ""]["unit"] == unit
        assert float(own["organ_error", ""]["truth"]) == 0
        assert float(own["bias", ""]["restored"]) > 0
        for measure in ("noise_sd", "organ_error", "bias", "spread"):
            kept = own[measure, ""]
            assert kept["left_out"] or (kept["input"] and kept["hq"] and kept["restored"])
        levels = {level: row for (name, level), row in own.items() if name == "insert_recovery"}
        if task == "pet":  # so few voxels
            assert "no patient has room for a lesion of 14 mm in liver" in levels[""]["left_out"]
        else:
            assert len(levels) == 3
    assert not {"suv_max_recovery"} & {row["measure"] for row in overall if row["task"] == "ct"}
    assert "mtf50" not in {row["measure"] for row in overall if row["task"] == "pet"}
    patients = rows(folder / "clinical.csv")
    regions = rows(folder / "clinical_regions.csv")
    assert {row["patient"] for row in patients} == {
        row["patient"] for row in rows(folder / "patients.csv")
    }
    organs = [
        float(row["restored"])
        for row in regions
        if (row["task"], row["measure"]) == ("ct", "organ_error")
    ]
    (mean,) = (
        float(row["restored"])
        for row in patients
        if (row["task"], row["measure"]) == ("ct", "organ_error")
    )
    assert mean == pytest.approx(sum(organs) / len(organs), rel=1e-4)

    again = command("clinical", "runs=[last]", "output=out", *QUICK)
    assert again.status == 0, again.err
    assert "measured before" in again.err
    assert "No method erases a lesion that HQ shows." in again.out
    page = Path("out/clinical.md").read_text()
    assert "## CT Denoising" in page
    assert "| Organs, error of the mean | HU |" in page
    compared = rows(Path("out/clinical.csv"))
    assert {row["task"] for row in compared} == {"mri", "ct", "pet"}
    with Image.open("out/lesions.png") as picture:
        assert picture.width > picture.height / 4
    panels = rows(Path("out/lesions.csv"))
    assert len(panels) == 2 * 3 * 3  # tasks with lesions, contrasts, and HQ, LQ and the run

    assert command("export", "run=last", "output=exported").status == 0
    card = Path("exported/README.md").read_text()
    assert "| CT Denoising | Organs, error of the mean | HU |" in card
    dashboard = command("dashboard", "output=page.html")
    assert dashboard.status == 0, dashboard.err
    assert "clinical_tasks.csv" in Path("page.html").read_text()


def test_mistakes_are_one_sentence(train: Command, command: Command) -> None:
    assert train("task=ct").status == 0
    (run,) = Path("runs").glob("ct*")
    Path("masks").mkdir()
    for options, text in (
        (["masks=masks"], "masks are for clinical measures; type clinical=true"),
        (["clinical=true", "masks=nowhere"], "masks is nowhere, which is no folder"),
        (["clinical=true", "masks=masks"], "masks/labels.csv cannot be read"),
        (
            ["clinical=true", "measures.inserts.CT.radius_mm=0.5", *QUICK[:4]],
            "a lesion of radius 0.5 mm is smaller than a pixel of 6.25 x 6.25 mm",
        ),
        (["clinical=true", "measures.inserts.CT.organ=brain", *QUICK[:4]], "organ is 'brain'"),
        (["clinical=true", "measures.inserts.CT.contrasts=[0.0]"], "numbers other than 0"),
        (["clinical=true", "measures.draws.count=1"], "there is 1 noise draw, expected at least 2"),
    ):
        done = command("evaluate", *options, "split=val")
        assert done.status == 2, options
        assert text in done.err
        assert "Traceback" not in done.err
        assert not (run / "evaluation" / "val").exists()
    for options, text in (
        (["experiment=clinical", "scale=demo"], "no run of experiment=clinical scale=demo in runs"),
        (["runs=[last]", "scale=demo"], "both say what is measured; type one of them"),
        (["runs=[last]", "split=tst"], "choose from test, val, train"),
        (["runs=[nonsense]"], "there is no run 'nonsense'"),
    ):
        done = command("clinical", *options)
        assert done.status == 2, options
        assert text in done.err
        assert "Traceback" not in done.err
    assert not Path("experiments").exists()
