"""Tables show clinical measures of the runs that were evaluated for them."""

import csv
from pathlib import Path

import pytest
from written_runs import PATIENTS, jobs, plain_scores, write_run

from amir_lightning.runs.clinical import (
    MEASURES,
    Clinical,
    Image,
    Overall,
    Row,
    of_patients,
    of_tasks,
)
from amir_lightning.runs.clinical_files import measured_by, print_clinical, write_clinical
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.kept import keep
from amir_lightning.tasks import load_task

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def measured(folder: Path, shift: float) -> None:
    """Measures of CT whose recovery is lower by `shift` and lower in each patient."""
    found = []
    for at, patient in enumerate(PATIENTS):
        for region in ("cyst 1", "cyst 2"):
            values: dict[Image, float] = {"hq": 1, "input": 0.8, "restored": 0.9 - shift - at / 100}
            found.append(Row("ct", patient, "lesion_recovery", "", region, "1", values))
        noise: dict[Image, float] = {"hq": 13, "input": 26, "restored": 6 + at - 10 * shift}
        found.append(Row("ct", patient, "noise_sd", "", "liver", "HU", noise))
        found.append(Row("ct", patient, "lesion_mean", "", "cyst 1", "HU", noise))  # region alone
    overall = of_tasks(of_patients(found), 50)
    write_clinical(folder / "evaluation" / "test", Clinical(found, overall, []), {"bootstrap": 50})


def test_clinical_measures_stand_in_the_table_with_differences_to_amir(
    command, composing, tmp_path: Path
) -> None:
    for job in jobs("table2"):
        folder = write_run(job, tmp_path / "runs", plain_scores)
        if job.network in ("amir", "restormer", "eformer"):
            measured(folder, {"amir": 0.0, "restormer": 0.1, "eformer": 0.2}[job.network])
    options = ("experiment=table2", f"paper_dir={EXPERIMENTS}", "output=out", "bootstrap=50")
    done = command("tabulate", *options)
    assert done.status == 0, done.err
    text = Path("out/table.md").read_text()
    clinical = text.partition("## Clinical measures")[2]
    assert "| CT Denoising | Lesions, contrast recovery |  | 1 | 0.8 | 0.775 (" in clinical
    assert "**0.875**" in clinical
    assert "| CT Denoising | Noise, standard deviation | HU | 13 | 26 |" in clinical
    assert "AirNet" not in clinical.partition("## Measured")[0]
    differences = clinical.partition("## Measured differences to AMIR")[2]
    assert (
        "| CT Denoising | Lesions, contrast recovery | Restormer | 6 | \N{MINUS SIGN}0.1 ("
        in differences
    )
    assert r"\label{tab:table2-clinical}" in Path("out/table.tex").read_text()
    with Path("out/results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "lesion_recovery"]
    by_network = {row["network"]: row for row in rows}
    assert set(by_network) == {"amir", "restormer", "eformer"}
    worst = by_network["eformer"]
    assert float(worst["minus_amir"]) == pytest.approx(-0.2)
    # Six patients of one sign: 2 / 2^6; two comparisons with it.
    assert float(worst["p_against_amir"]) == pytest.approx(2 / 2**6)
    assert float(worst["p_holm"]) == pytest.approx(4 / 2**6)
    assert by_network["amir"]["minus_amir"] == ""
    assert float(by_network["amir"]["low"]) < 0.875 < float(by_network["amir"]["high"])


def test_the_printed_table_fits_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    mri = load_task("mri")
    found = []
    for at, name in enumerate(MEASURES):
        levels = ["50 a.u.", "200 a.u."] if name.startswith(("insert", "observer")) else [""]
        unit = {"noise_frequency": "1/mm", "mtf50": "1/mm"}.get(name, "a.u.")
        values: dict[Image, float] = {"hq": 0.012345, "input": 123.456, "restored": 0.67891 + at}
        bounds = None if name == "bias" else (0.67891, 0.012345)
        count = 2 if name == "bias" else 12
        found += [Overall("mri", name, level, unit, count, values, bounds) for level in levels]
    found.append(Overall("mri", "ttf50", "", "", 0, {}, None, "noise hides it"))
    print_clinical(found, [mri])
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    for title in ("Lesions, error of the mean [a.u.]", "Edges, 50 % of the transfer [1/mm]"):
        (line,) = (line for line in lines if line.startswith(title))
        assert line.removeprefix(title).split()[:2] == ["0.0123", "123"]
        assert line.endswith("  0.679 to 0.0123")
    at = lines.index("Model observer, gain in area [a.u.]".ljust(80))
    assert lines[at + 1].startswith("  50 a.u. ")
    assert lines[at + 2].startswith("  200 a.u. ")
    assert "mri: fewer than 4 patients have no 95 % interval" in lines
    assert "left out of mri: noise hides it (Inserts, 50 % of the transfer)" in lines


def test_a_table_without_clinical_measures_is_as_before(command, composing, tmp_path: Path) -> None:
    for job in jobs("table2"):
        write_run(job, tmp_path / "runs", plain_scores)
    options = ("experiment=table2", f"paper_dir={EXPERIMENTS}", "output=out", "bootstrap=20")
    assert command("tabulate", *options).status == 0
    assert "Clinical" not in Path("out/table.md").read_text()


def test_kept_copies_have_the_measures_of_patients_and_tasks(composing, tmp_path: Path) -> None:
    folder = write_run(jobs("table2")[0], tmp_path / "runs", plain_scores)
    measured(folder, 0.0)
    assert measured_by(folder / "evaluation" / "test") == {"bootstrap": 50}
    keep([RunFolder(folder)], tmp_path / "kept")
    copied = {path.name for path in (tmp_path / "kept" / folder.name / "evaluation/test").iterdir()}
    assert copied == {"patients.csv", "clinical.csv", "clinical_tasks.csv"}
