"""The claims command: verdicts from run folders whose scores are chosen, and what is refused."""

import csv
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from written_runs import PATIENTS, Scores, jobs, write_run

from amir_lightning.claims.comparisons import comparisons
from amir_lightning.claims.intervals import simultaneous
from amir_lightning.claims.rules import Claim, read_claims
from amir_lightning.claims.rules import Scores as ScoresClaim
from amir_lightning.claims.verdicts import judge
from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.tabulate.results import Method, collect

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CLAIMS = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "claims.yaml").claims)
assert isinstance(CLAIMS, dict)
SEEDS = "seed=0,1"
TABLE2 = [f"~claims.{key}" for key, one in CLAIMS.items() if one["experiment"] != "table2"]


def noise(*names: object) -> float:
    """The same small number for the same names."""
    seed = zlib.crc32(" ".join(map(str, names)).encode())
    return float(np.random.default_rng(seed).normal(0, 0.02))


def chosen(gains: Mapping[tuple[str, str], float]) -> Scores:
    """Scores that differ from a common level of each patient by the gain of (network, task)."""

    def scores(job: Any, task: str, patient: str) -> dict[str, float]:
        hard = PATIENTS.index(patient)
        gain = gains.get((job.network, task), 0.0) + noise(job.network, task, patient, job.seed)
        return {"psnr": 30 - hard + gain, "ssim": 0.9 + 0.01 * gain, "rmse": 50 + hard - gain}

    return scores


def claim(**changes: Any) -> Claim:
    (one,) = read_claims({"one": {**CLAIMS["table2_mri"], **changes}})
    return one


def written(
    experiment: str, folder: Path, scores: Scores, *options: str, **changes: Any
) -> list[Method]:
    """Rows of an experiment of which every run has finished."""
    wanted = jobs(experiment, *options)
    runs = [
        RunFolder(write_run(job, folder, scores, name=f"{experiment}-{at}", **changes))
        for at, job in enumerate(wanted)
    ]
    return collect(wanted, runs, EXPERIMENTS / experiment / "paper.csv", 0)


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("composing")
def test_the_papers_own_numbers_make_every_claim_about_scores() -> None:
    found = 0
    for one in read_claims(CLAIMS):
        if isinstance(one, ScoresClaim):
            wanted = jobs(one.experiment)
            paper = EXPERIMENTS / one.experiment / "paper.csv"
            methods = collect(wanted, [None] * len(wanted), paper, 0)
            for each in comparisons(one, methods):
                assert each.paper is not None
                assert each.paper > one.margin, (one.name, each)
                found += 1
    assert found > 100


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("gain", "rival", "expected"),
    [
        (1.0, 0.0, "supported"),
        (1.0, 2.0, "contradicted"),
        (0.0, -1.0, "undecided"),
    ],
)
def test_the_best_of_several_rivals(
    tmp_path: Path, gain: float, rival: float, expected: str
) -> None:
    scores = chosen({("amir", "mri"): gain, ("drmc", "mri"): rival})
    found = comparisons(claim(), written("table2", tmp_path, scores))
    assert len(found) == 5 * 3
    assert judge(claim(), found, 1000).verdict == expected


@pytest.mark.usefixtures("composing")
def test_advantages_of_patients_over_seeds_tasks_and_signs(tmp_path: Path) -> None:
    gains = {("amir", "mri"): 1.0, ("amir", "ct"): 2.0, ("amir", "pet"): 6.0}
    methods = written("table2", tmp_path, chosen(gains), "network=restormer,amir", SEEDS)
    one = claim(behind=["restormer"], tasks=["average", "mri"])
    found = {(each.task, each.score): each for each in comparisons(one, methods)}
    patient = found["mri", "psnr"].advantages["mri"]["p2"]
    by_seed = [
        1 + noise("amir", "mri", "p2", seed) - noise("restormer", "mri", "p2", seed)
        for seed in (0, 1)
    ]
    assert patient == pytest.approx(np.mean(by_seed))
    assert found["mri", "psnr"].seeds == (2, 2)
    means = [
        np.mean(
            [noise("amir", "mri", p, seed) - noise("restormer", "mri", p, seed) for p in PATIENTS]
        )
        for seed in (0, 1)
    ]
    assert found["mri", "psnr"].spread == pytest.approx(np.std(means, ddof=1))
    assert found["mri", "rmse"].advantages["mri"]["p2"] == pytest.approx(patient)
    (average,) = simultaneous([found["average", "psnr"]], 100)
    assert average.value == pytest.approx(3, abs=0.05)
    assert average.patients == 18


@pytest.mark.usefixtures("composing")
def test_combinations_of_tasks_are_told_apart(tmp_path: Path) -> None:
    def scores(job: Any, task: str, patient: str) -> dict[str, float]:
        return {"psnr": 30 + 0.1 * len(job.tasks) + noise(job.cfg.task, patient)}

    methods = written("table3", tmp_path, scores)
    verdicts = {
        one.name: judge(one, comparisons(one, methods), 500).verdict
        for one in read_claims(CLAIMS)
        if one.experiment == "table3"
    }
    assert verdicts.pop("table3_pet") == "contradicted"
    assert set(verdicts.values()) == {"supported"}


@pytest.mark.usefixtures("composing")
def test_a_run_that_is_missing_is_named(tmp_path: Path) -> None:
    wanted = jobs("table2")
    runs = [
        RunFolder(write_run(job, tmp_path, chosen({}))) if job.network != "drmc" else None
        for job in wanted
    ]
    methods = collect(wanted, runs, tmp_path / "none.csv", 0)
    judged = judge(claim(), comparisons(claim(), methods), 100)
    assert judged.verdict == "not run"
    assert {one.missing for one in judged.comparisons} == {(), ("run of drmc",)}


def draw_by_hand(run: Path, figure: str, lines: list[dict[str, object]]) -> None:
    path = run / "figures" / f"{figure}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def measured(run: Path, separation: float, interference: float, **changes: object) -> None:
    """Numbers of all figures that claims read, as draw writes them."""
    made = {"run": run.name, "checkpoint": "best", "split": "test", **changes}
    places = [(task, patient) for task in ("mri", "ct", "pet") for patient in PATIENTS]
    patients = [
        {"task": task, "patient": patient, "slices": 2}
        | {"silhouette": separation + noise(run.name, patient), "chance": 0.1, **made}
        for task, patient in places
    ]
    paths = [
        {"task": task, "patient": patient, "within": 0.1, "between": 0.1 + separation}
        | {"own_path": separation, "path": "0-1-2", **made}
        for task, patient in places
    ]
    means = [
        {
            "block": block,
            "layer": block,
            "definition": definition,
            "value": value,
            "error": 0.05,
            **made,
        }
        for block in ("second", "last")
        for definition, value in (("mean_of_ratios", 9.0), ("ratio_of_means", interference))
    ]
    draw_by_hand(run, "instructions_patients", patients)
    draw_by_hand(run, "paths_patients", paths)
    draw_by_hand(run, "interference_mean", means)


@pytest.mark.usefixtures("composing")
def test_figures_are_judged_by_their_numbers(tmp_path: Path) -> None:
    options = ("network=restormer,amir", SEEDS)
    methods = written("table2", tmp_path, chosen({}), *options)
    figures = [one for one in read_claims(CLAIMS) if one.name.startswith("figure")]

    def verdicts() -> dict[str, str]:
        found = {one.name: judge(one, comparisons(one, methods), 500) for one in figures}
        return {name: one.verdict for name, one in found.items()}

    assert set(verdicts().values()) == {"not run"}
    for method in methods:
        for run in method.runs:
            measured(run.files.path, 0.5, -0.5 if method.network == "restormer" else -0.1)
    assert set(verdicts().values()) == {"supported"}
    for method in methods:
        for run in method.runs:
            measured(run.files.path, -0.5, 0.1 if method.network == "restormer" else -0.1)
    assert set(verdicts().values()) == {"contradicted"}
    for method in methods:
        for run in method.runs:
            measured(run.files.path, 0.5, -0.5, split="val")
    assert set(verdicts().values()) == {"not run"}
    draw_by_hand(methods[1].runs[0].files.path, "paths_patients", [{"task": "mri", "split": "x"}])
    with pytest.raises(InputError, match=r"paths_patients.csv cannot be read .* draw it again"):
        verdicts()


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"rule": "score"}, "claims.one.rule is 'score'; choose from scores, patients"),
        ({"rule": "scores", "paper": "p"}, "claims.one lacks experiment, ahead, behind, tasks"),
        ({**CLAIMS["table2_mri"], "marginn": 1}, "claims.one has the key marginn; a claim of rule"),
    ],
)
def test_a_claim_that_cannot_be_read_is_named(node: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_claims({"one": node})


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"behind": ["unet"]}, "names unet, which is not in table2"),
        ({"experiment": "table3", "behind": ["amir on mri"]}, "names amir, and table3 has"),
        ({"tasks": ["us"]}, "compares nothing"),
    ],
)
def test_a_claim_about_runs_that_do_not_exist_is_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    one = claim(**changes)
    wanted = jobs(one.experiment)
    methods = collect(wanted, [None] * len(wanted), Path("none.csv"), 0)
    with pytest.raises(InputError, match=sentence):
        comparisons(one, methods)


def test_kept_runs_make_the_same_tables_and_claims(command, composing, tmp_path: Path) -> None:
    gains = {("amir", "mri"): 1.0, ("restormer", "ct"): 1.0}
    for at, job in enumerate(jobs("table2")):
        run = write_run(job, tmp_path / "runs", chosen(gains), name=f"run{at}")
        (run / "metrics.csv").write_text("step,train/loss,val/avg/psnr\n9,1.0,\n99,0.5,30.0\n")
        if job.network in ("restormer", "amir"):
            measured(run, 0.5, -0.5 if job.network == "restormer" else -0.1)
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.ckpt").write_bytes(b"weights" * 1000)
    results = {}
    for source in ("runs", "kept"):
        done = command(
            "tabulate",
            "experiment=table2",
            f"output={source}/table",
            "bootstrap=50",
            "keep=true",
        )
        assert done.status == 0, done.err
        done = command("claims", "seed=0", f"output={source}/claims", "bootstrap=500")
        assert done.status == 0, done.err
        paths = [*Path(source, "table").iterdir(), *Path(source, "claims").iterdir()]
        results[source] = {path.name: path.read_bytes() for path in paths}
        shutil.rmtree("runs", ignore_errors=True)
    assert len(results["runs"]) == 5
    assert results["runs"] == results["kept"]

    verdicts = {row["claim"]: row["verdict"] for row in rows("kept/claims/claims.csv")}
    assert list(verdicts) == list(CLAIMS)
    assert verdicts["table2_mri"] == "supported"
    assert verdicts["table2_ct"] == "contradicted"
    assert verdicts["table2_pet_ssim"] == "undecided"
    assert verdicts["table1_mri"] == "not run"
    assert verdicts["figure1_smaller"] == verdicts["figure4_paths"] == "supported"
    page = Path("kept/claims/claims.md").read_text()
    assert page.startswith("# Claims of the paper, scale demo")
    assert "table2: 6 of 6 runs finished." in page
    assert (
        "missing: run of amir, run of srcnn, run of vdsr, run of swinir, run of restormer" in page
    )
    assert "Embedded phantoms instead of patients." in page
    assert "`python -m amir_lightning.train -m experiment=table4 seed=0 " in page


def test_without_any_run_every_claim_is_not_run(command, tmp_path: Path) -> None:
    done = command("claims", "seed=0", "output=out", *TABLE2)
    assert done.status == 0, done.err
    assert {row["verdict"] for row in rows("out/claims.csv")} == {"not run"}


def test_runs_of_other_data_are_refused(command, composing, tmp_path: Path) -> None:
    for at, job in enumerate(jobs("table2", "network=restormer,amir")):
        write_run(job, tmp_path / "runs", chosen({}), fingerprint=str(at) * 64)
    done = command("claims", "seed=0", "output=out", *TABLE2)
    assert done.status == 2
    assert "the runs differ in their data of mri" in done.err
    assert "mixed=true" not in done.err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["experiment=table2"], "each claim names its experiment in conf/claims.yaml; drop"),
        (["bootstrap=0"], "bootstrap is 0, and every verdict needs an interval"),
        (["seed=0", "output=taken"], "output is taken, a file; type output=<folder>"),
        (
            ["seed=0", "claims.table2_mri.rule=best"],
            "claims.table2_mri.rule is 'best'; choose from",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    command, tmp_path: Path, options: list[str], sentence: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    done = command("claims", *options)
    assert done.status == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert not Path("experiments").exists()


def test_no_page_takes_the_place_of_another_scales(command, tmp_path: Path) -> None:
    assert command("claims", "seed=0", "output=out", *TABLE2).status == 0
    before = Path("out/claims.md").read_text()
    done = command("claims", "scale=paper", "output=out", *TABLE2)
    assert done.status == 2
    assert "holds a table of scale demo, and this one is of scale paper" in done.err
    assert Path("out/claims.md").read_text() == before


def test_claims_need_no_torch() -> None:
    code = "import sys, amir_lightning.claims.__main__, amir_lightning.claims.page;"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
