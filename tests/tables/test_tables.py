"""Tables: the layouts, the numbers in them, and what is refused."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy import stats
from written_runs import PATIENTS, jobs, plain_scores, write_run

from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.sweep import Job
from amir_lightning.tabulate.render import notes, result_grid
from amir_lightning.tabulate.results import collect
from amir_lightning.tabulate.statistics import (
    compare,
    difference,
    effect_size,
    evidence,
    holm,
    spread,
    wilcoxon,
)
from amir_lightning.tasks import Task

GOLDEN = Path(__file__).parent / "golden"
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = ["table1", "table2", "table3", "table4"]


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def parsed_tasks(job: Job) -> list[Task]:
    nodes = cast(dict[str, Any], OmegaConf.to_container(job.cfg.tasks, resolve=True))
    return [Task.from_config(name, nodes[name]) for name in job.tasks]


def tabulate(command, *options: str):
    return command("tabulate", f"paper_dir={EXPERIMENTS}", "output=out", "bootstrap=20", *options)


@pytest.mark.parametrize("experiment", TABLES)
def test_layouts(command, composing, tmp_path: Path, data_dir: Path, experiment: str) -> None:
    for job in jobs(experiment)[1:]:  # the first method is a dash
        write_run(job, tmp_path / "runs", plain_scores)
    done = tabulate(command, f"experiment={experiment}")
    assert done.status == 0, done.err
    for name in ("table.md", "table.tex"):
        golden = GOLDEN / f"{experiment}{Path(name).suffix}"
        text = (tmp_path / "out" / name).read_text().replace(f" paths.data_dir={data_dir}", "")
        assert text == golden.read_text()


@pytest.mark.parametrize("experiment", TABLES)
def test_the_papers_numbers_agree_with_each_other(experiment: str) -> None:
    rows = written(EXPERIMENTS / experiment / "paper.csv")
    known: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for table in TABLES:
        for row in written(EXPERIMENTS / table / "paper.csv"):
            known.setdefault((row["network"], row["trained"], row["task"]), []).append(row)
    for row in rows:
        for score in ("psnr", "ssim", "rmse"):
            same = known[row["network"], row["trained"], row["task"]]
            assert {other[score] for other in same} == {row[score]}
            if row["task"] == "average":
                tasks = [
                    known[row["network"], row["trained"], task][0] for task in ("mri", "ct", "pet")
                ]
                mean = sum(float(one[score]) for one in tasks) / 3
                assert float(row[score]) == pytest.approx(mean, abs=1.01e-4)


@pytest.mark.usefixtures("composing")
def test_rows_of_the_papers_tables_are_the_jobs_of_the_sweeps() -> None:
    for table in TABLES:
        rows = written(EXPERIMENTS / table / "paper.csv")
        printed = dict.fromkeys((row["network"], row["trained"]) for row in rows)
        assert list(printed) == [(job.network, "+".join(job.tasks)) for job in jobs(table)]


def test_means_spread_and_differences(command, composing, tmp_path: Path) -> None:
    options = ("network=restormer,amir", "seed=0,1,2")
    for job in jobs("table2", *options):
        write_run(job, tmp_path / "runs", plain_scores)
    assert tabulate(command, "experiment=table2", *options).status == 0
    rows = written(tmp_path / "out" / "results.csv")
    (row,) = [r for r in rows if (r["network"], r["task"], r["score"]) == ("amir", "ct", "psnr")]
    mean = 20 + 4 + 0.3 + 0.01 - 0.5 * 2.5
    assert float(row["value"]) == pytest.approx(mean, abs=1e-4)
    assert float(row["spread"]) == pytest.approx(0.01)
    assert float(row["difference"]) == pytest.approx(mean - 33.7011, abs=1e-4)
    assert row["scale"] == "demo"
    assert row["seeds"] == "0+1+2"
    assert (row["patients"], row["slices"]) == ("6", "12")
    text = (tmp_path / "out" / "table.md").read_text()
    assert "± 0.0100" in text
    assert text.startswith("# table2, scale demo")


@pytest.mark.usefixtures("composing")
def test_successors_have_a_column_of_their_own_papers_recipes(
    command, composing, tmp_path: Path
) -> None:
    for number, job in enumerate(jobs("successors")):
        write_run(job, tmp_path / "runs", plain_scores, name=f"run{number}")
    papers = Path(__file__).parents[2] / "experiments"
    done = command(
        "tabulate", "experiment=successors", "bootstrap=0", f"paper_dir={papers}", "output=out"
    )
    assert done.status == 0, done.err
    head, _, *rows = [
        line for line in Path("out/table.md").read_text().splitlines() if line.startswith("| ")
    ][:12]
    cells = {row.split(" | ")[0].strip("| "): row.split(" | ") for row in rows}
    place = head.split(" | ").index("Own paper")
    assert cells["TAT"][place] == "400,000 steps, batch 12, AdamW and average"
    assert cells["Eformer"][place] == "—"
    assert cells["AMIR (amir_averaged)"][place] == cells["AMIR (amir)"][place]
    assert "Average PSNR" in head


@pytest.mark.usefixtures("composing")
def test_rows_of_one_network_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    found = jobs("width")
    labels = [one.label for one in collect(found, [None] * len(found), tmp_path / "none", 0)]
    assert labels == [
        f"{network} (network.width={width})"
        for network in ("restormer", "amir")
        for width in (10, 12)
    ]


@pytest.mark.usefixtures("composing")
def test_statistics_against_other_computations(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    drawn = {}

    def scores(job, task, patient):
        values = drawn.setdefault((job.network, task, patient), rng.normal(30, 2, size=3))
        return dict(zip(("psnr", "ssim", "rmse"), values, strict=True))

    wanted = jobs("table2", "network=restormer,amir")
    folders = [write_run(job, tmp_path, scores) for job in wanted]
    restormer, amir = collect(
        wanted, [*map(RunFolder, folders)], tmp_path / "none.csv", bootstrap=2000
    )
    found = compare([restormer, amir], restormer, "ct", bootstrap=2000)
    assert found is not None
    for at, score in enumerate(("psnr", "ssim", "rmse")):
        ours, theirs = (
            np.array([drawn[name, "ct", patient][at] for patient in PATIENTS])
            for name in ("restormer", "amir")
        )
        against = found.differences[score]
        assert against.p_value == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
        assert against.mean == pytest.approx((ours - theirs).mean())
        assert against.effect == pytest.approx((ours - theirs).mean() / (ours - theirs).std(ddof=1))
        other = stats.bootstrap((ours - theirs,), np.mean, n_resamples=2000, method="percentile")
        assert against.interval == pytest.approx(tuple(other.confidence_interval), abs=0.2)
        assert against.patients == 6
        other = stats.bootstrap((ours,), np.mean, n_resamples=2000, method="percentile", rng=1)
        low, high = other.confidence_interval
        assert found.intervals[score] == pytest.approx((low, high), abs=0.15)
    alone = compare([restormer, amir], amir, "ct")
    assert alone is not None
    assert alone.differences == {}


@pytest.mark.usefixtures("composing")
def test_a_method_is_compared_with_amir_of_the_same_tasks(tmp_path: Path) -> None:
    wanted = [
        one
        for network in ("restormer", "amir")
        for tasks in ("one_ct", "two", "three")
        for one in jobs("tasks", f"+experiment/method={network}", f"+experiment/task_set={tasks}")
    ]
    folders = [
        write_run(job, tmp_path, lambda *_, at=at: {"psnr": float(at**2)})
        for at, job in enumerate(wanted)
    ]
    methods = collect(wanted, [*map(RunFolder, folders)], tmp_path / "none.csv", bootstrap=0)
    means = {}
    for method in methods:
        found = compare(methods, method, "ct")
        assert found is not None
        difference = found.differences.get("psnr")
        means[method.network, len(method.trained)] = difference and difference.mean
    assert means == {
        ("restormer", 1): 0 - 9,
        ("restormer", 2): 1 - 16,
        ("restormer", 3): 4 - 25,
        ("amir", 1): 9 - 25,  # AMIR is compared with its row of most tasks
        ("amir", 2): 16 - 25,
        ("amir", 3): None,
    }


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize("differ", ["nothing", "data", "definition"])
def test_only_what_was_scored_alike_is_tested_and_ranked(tmp_path: Path, differ: str) -> None:
    (theirs,) = jobs("table2", "network=restormer")
    (ours,) = jobs("table2", "network=amir", *["metrics=standard"] * (differ == "definition"))
    other = "0" * 64 if differ == "data" else "f" * 64
    folders = [
        write_run(theirs, tmp_path, plain_scores),
        write_run(ours, tmp_path, plain_scores, fingerprint=other),
    ]
    methods = collect(
        [theirs, ours], [*map(RunFolder, folders)], tmp_path / "none.csv", bootstrap=0
    )
    found = compare(methods, methods[0], "ct")
    assert found is not None
    tested = "psnr" in found.differences
    (mri,) = (task for task in parsed_tasks(theirs) if task.name == "mri")
    cells = [row[-1] for row in result_grid(methods, [mri]).body]
    ranked = [cell.rank for cell in cells]
    told = "among runs of one scale" in " ".join(notes(methods, [mri]))
    assert (tested, ranked, told) == (
        (True, ["best", "second"], False) if differ == "nothing" else (False, ["", ""], True)
    )


@pytest.mark.usefixtures("composing")
def test_constant_scores_have_an_interval_of_no_width(tmp_path: Path) -> None:
    wanted = jobs("figure4")
    folder = write_run(wanted[0], tmp_path, lambda *_: {"psnr": 7.0})
    (method,) = collect(wanted, [RunFolder(folder)], tmp_path / "none.csv", bootstrap=50)
    found = compare([method], method, "pet")
    assert found is not None
    assert found.intervals["psnr"] == (7.0, 7.0)


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda text: "".join(x for x in text if not x.startswith("ct")), "has no row of ct"),
        (lambda text: text[0], "has no row of ct, mri"),
        (lambda text: "".join(text)[:-30], "scores of"),
    ],
    ids=["a task lost", "empty", "cut"],
)
def test_damaged_scores_name_their_run(tmp_path: Path, damage, found: str) -> None:
    wanted = jobs("table3", "task=mri+ct")
    folder = write_run(wanted[0], tmp_path, plain_scores)
    path = folder / "evaluation" / "test" / "patients.csv"
    path.write_text(damage(path.read_text().splitlines(keepends=True)))
    with pytest.raises(InputError, match=found) as caught:
        collect(wanted, [RunFolder(folder)], tmp_path / "none.csv", bootstrap=0)
    assert f"the scores of {folder} cannot be read" in str(caught.value)


@pytest.mark.usefixtures("composing")
def test_no_average_without_a_trained_task(tmp_path: Path) -> None:
    wanted = jobs("table3", "task=mri+ct")
    folder = write_run(wanted[0], tmp_path, plain_scores)
    (method,) = collect(wanted, [RunFolder(folder)], tmp_path / "none.csv", bootstrap=0)
    assert method.value("average", "psnr") is not None
    lacking = dataclasses.replace(method, trained=("mri", "ct", "pet"))
    assert lacking.value("average", "psnr") is None
    assert lacking.per_seed("average", "psnr") == []


def test_statistics_by_hand() -> None:
    # Six differences of one sign: 2 of the 2^6 sign patterns are as extreme.
    assert wilcoxon(np.arange(1.0, 7)) == pytest.approx(2 / 64)
    assert wilcoxon(np.zeros(2)) == 1
    assert spread([1.0]) is None
    assert spread([1.0, 3.0]) == pytest.approx(2**0.5)
    assert effect_size(np.array([1.0, 3.0])) == pytest.approx(2 / 2**0.5)
    assert effect_size(np.array([1.0, 1.0])) is None
    assert effect_size(np.array([1.0])) is None
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 not below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert difference([np.array([1.0])], 100).interval is None
    assert difference([np.ones(5)], 100).interval == (1.0, 1.0)
    assert difference([np.arange(5.0)], 100) == difference([np.arange(5.0)], 100)


@pytest.mark.usefixtures("composing")
def test_patients_are_the_units_and_not_seeds(tmp_path: Path) -> None:
    """Three seeds of six patients are six units, each the mean of the seeds."""

    def scores(job: Job, task: str, patient: str) -> dict[str, float]:
        at = PATIENTS.index(patient)
        if job.network == "amir":
            return {"psnr": 30.0 + at}
        return {"psnr": 30.0 + at - (at + 1) * (job.seed + 1)}

    wanted = jobs("table2", "network=restormer,amir", "seed=0,1,2")
    runs = [RunFolder(write_run(job, tmp_path, scores)) for job in wanted]
    methods = collect(wanted, runs, tmp_path / "none.csv", bootstrap=0)
    found = compare(methods, methods[0], "mri")
    assert found is not None
    against = found.differences["psnr"]
    units = -2.0 * np.arange(1, 7)  # the mean of seeds 0, 1, 2
    assert against.patients == 6
    assert against.mean == pytest.approx(units.mean())
    assert against.effect == pytest.approx(units.mean() / units.std(ddof=1))
    assert against.p_value == pytest.approx(2 / 64)


@pytest.mark.usefixtures("composing")
def test_p_is_corrected_for_all_comparisons_of_the_table_in_one_score(tmp_path: Path) -> None:
    def scores(job: Job, task: str, patient: str) -> dict[str, float]:
        at = PATIENTS.index(patient)
        ahead = at if (job.network, task) == ("restormer", "ct") else at * (-1) ** at
        return {"psnr": 30.0 + (0 if job.network == "amir" else ahead + len(job.network))}

    wanted = jobs("table2", "network=restormer,drmc,amir")
    runs = [RunFolder(write_run(job, tmp_path, scores)) for job in wanted]
    methods = collect(wanted, runs, tmp_path / "none.csv", bootstrap=0)
    found = evidence(methods, ["mri", "ct", "pet", "average"], 100)
    tested = {key: one.differences["psnr"] for key, one in found.items() if one.differences}
    assert set(tested) == {(at, task) for at in (0, 1) for task in ("mri", "ct", "pet", "average")}
    raw = [one.p_value for one in tested.values() if one.p_value is not None]
    corrected = [one.corrected for one in tested.values() if one.corrected is not None]
    assert len(raw) == 6  # the average has no test
    assert corrected == pytest.approx(holm(raw))
    assert corrected != raw
    average = tested[0, "average"]
    tasks = [tested[0, task].mean for task in ("mri", "ct", "pet")]
    assert average.mean == pytest.approx(np.mean(tasks))
    assert average.effect is average.p_value is None
    assert average.interval is not None
    assert average.interval[0] < average.mean < average.interval[1]


def test_differences_are_in_the_table_and_in_the_data(command, composing, tmp_path: Path) -> None:
    for job in jobs("table2", "network=restormer,amir"):
        write_run(job, tmp_path / "runs", plain_scores)
    assert tabulate(command, "experiment=table2", "network=restormer,amir").status == 0
    found = {
        (row["network"], row["task"], row["score"]): row
        for row in written(tmp_path / "out" / "results.csv")
    }
    row = found["restormer", "ct", "psnr"]  # its name has five letters more
    assert float(row["minus_amir"]) == pytest.approx(5)
    assert float(row["minus_amir_low"]) == float(row["minus_amir_high"]) == pytest.approx(5)
    assert row["p_against_amir"] == "0.03125"
    assert row["p_holm"] == "0.09375"  # three tasks
    assert float(found["restormer", "average", "psnr"]["minus_amir"]) == pytest.approx(5)
    assert found["restormer", "average", "psnr"]["p_holm"] == ""
    assert found["amir", "ct", "psnr"]["minus_amir"] == ""
    text = (tmp_path / "out" / "table.md").read_text()
    assert "## Differences to AMIR" in text
    assert "+5.0000 (+5.0000 to +5.0000)" in text


def test_without_a_finished_run_the_command_that_starts_one(command, composing, tmp_path) -> None:
    write_run(jobs("table3")[0], tmp_path / "runs", plain_scores, finished=False)
    done = tabulate(command, "experiment=table3", "task=mri,ct")
    assert done.status == 2
    assert "python -m amir_lightning.train -m experiment=table3 task=mri,ct" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["plan", "tabulate", "draw"])
def test_what_starts_a_sweep_keeps_the_folders_that_were_typed(command, tmp_path, name) -> None:
    folder = tmp_path / "my runs"
    options = ["experiment=figure4", "seed=0,1", f"paths.runs_dir={folder}"]
    done = command(name, *options, *(["draw=curves"] if name == "draw" else []))
    start = "python -m amir_lightning.train -m experiment=figure4 seed=0,1"
    assert f"{start} 'paths.runs_dir={folder}'" in done.out + done.err


def test_a_table_names_the_folder_of_its_runs(command, composing, tmp_path: Path) -> None:
    write_run(jobs("figure4")[0], tmp_path / "other", plain_scores)
    assert tabulate(command, "experiment=figure4", "paths.runs_dir=other").status == 0
    assert "experiment=figure4 paths.runs_dir=other" in (tmp_path / "out" / "table.md").read_text()


def test_without_the_papers_numbers_or_intervals_the_table_says_so(
    command, composing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(jobs("figure4")[0], tmp_path / "runs", plain_scores)
    caplog.set_level("INFO", logger="amir_lightning")
    options = ["experiment=figure4", "output=out", "paper_dir=nowhere", "bootstrap=0"]
    assert command("tabulate", *options).status == 0
    assert "no nowhere/figure4/paper.csv; type paper_dir=<folder>" in caplog.text
    assert "Bootstrap" not in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["bootstrp=3"], "unknown option 'bootstrp'; did you mean 'bootstrap'?"),
        (["table3"], "'table3' is no option; options are written name=value"),
        ([""], "'' is no option; options are written name=value"),
    ],
)
def test_a_slip_of_the_pen_beside_options_of_train(
    command, options: list[str], sentence: str
) -> None:
    done = command("tabulate", "experiment=table3", *options)
    assert done.status == 2
    assert sentence in done.err


@pytest.mark.parametrize("name", ["tabulate", "plan", "draw"])
def test_flags_of_hydra_keep_their_values_beside_options_of_train(command, name: str) -> None:
    done = command(name, "experiment=table3", "--cfg", "job", "seed=0,1")
    assert done.status == 0, done.err
    assert "- experiment=table3\n- seed=0,1\n" in done.out


def test_the_folder_of_a_table_is_no_file(command, composing, tmp_path: Path) -> None:
    write_run(jobs("figure4")[0], tmp_path / "runs", plain_scores)
    (tmp_path / "out").write_text("mine")
    done = tabulate(command, "experiment=figure4")
    assert "output is out, a file; type output=<folder>" in done.err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["tabulate", "evaluate", "draw"])
def test_no_fewer_than_no_resamples(command, name: str) -> None:
    options = {"tabulate": ["experiment=table3"], "evaluate": [], "draw": ["draw=curves"]}[name]
    done = command(name, "bootstrap=-1", *options)
    assert done.status == 2
    assert "bootstrap is -1, expected at least 0; type bootstrap=1000" in done.err


@pytest.mark.parametrize(
    ("options", "fact"), [([], "data of mri"), (["metrics=paper,standard"], "metric definition")]
)
def test_mixtures_are_refused_unless_asked_for(
    command, composing, tmp_path: Path, options: list[str], fact: str
) -> None:
    options = ["task=mri,mri+ct", *options]
    for number, job in enumerate(jobs("table3", *options)):
        other = "0" * 64 if number == 1 and len(options) == 1 else "f" * 64
        write_run(job, tmp_path / "runs", plain_scores, fingerprint=other, name=str(number))
    done = tabulate(command, "experiment=table3", *options)
    assert done.status == 2
    assert f"differ in their {fact}" in done.err
    assert "mixed=true" in done.err
    assert tabulate(command, "experiment=table3", *options, "mixed=true").status == 0


def test_mixed_scales_are_refused_and_no_table_takes_the_place_of_another_scales(
    command, composing, tmp_path: Path
) -> None:
    for job in jobs("figure4", "scale=demo,paper"):
        write_run(job, tmp_path / "runs", plain_scores, name=job.cfg.scale)
    done = tabulate(command, "experiment=figure4", "scale=demo,paper")
    assert "differ in their scale: demo (demo), paper (paper)" in done.err
    assert tabulate(command, "experiment=figure4", "scale=paper").status == 0
    before = (tmp_path / "out" / "table.md").read_text()
    assert before.startswith("# figure4, scale paper")
    done = tabulate(command, "experiment=figure4")
    assert done.status == 2
    assert "holds a table of scale paper" in done.err
    assert (tmp_path / "out" / "table.md").read_text() == before


def test_tables_need_no_torch() -> None:
    code = (
        "import sys, amir_lightning.plan, amir_lightning.tabulate.__main__;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_table_of_a_study_says_how_large_its_networks_are(command, composing, tmp_path) -> None:
    options = ("scale=study", "network=restormer,amir")
    for job in jobs("table2", *options):
        write_run(job, tmp_path / "runs", plain_scores)
    done = tabulate(command, "experiment=table2", *options)
    assert done.status == 0, done.err
    text = (tmp_path / "out" / "table.md").read_text()
    assert "Scale study. Millions of parameters: Restormer 1.23, AMIR 1.23. " in text


def test_a_table_says_whose_learning_rate_was_taken(command, composing, tmp_path: Path) -> None:
    options = ("scale=study", "network=restormer,amir_no_srm,amir_no_crm,amir")
    wanted = jobs("table4", *options)
    for job in wanted[:2] + wanted[3:]:  # a row without a run took nothing
        write_run(job, tmp_path / "runs", plain_scores)
    done = tabulate(command, "experiment=table4", *options)
    assert done.status == 0, done.err
    sentence = "At the learning rate of AMIR, without a search of their own: "
    text = (tmp_path / "out" / "table.md").read_text()
    assert f"{sentence}Routing Module: w/o SRM. " in text
    assert sentence in (tmp_path / "out" / "table.tex").read_text()


@pytest.mark.usefixtures("composing")
@pytest.mark.parametrize(
    ("options", "lenders"),
    [
        (("scale=study",), {"amir_no_srm": "amir", "amir": None}),
        (("scale=study", "optimizer.learning_rate=0.5"), {"amir_no_srm": None, "amir": None}),
        (("scale=demo",), {"amir_no_srm": None, "amir": None}),
    ],
    ids=["by file", "typed", "without files"],
)
def test_a_rate_is_taken_only_by_the_file_of_a_network(
    options: tuple[str, ...], lenders: dict[str, str | None]
) -> None:
    wanted = jobs("table4", "network=amir_no_srm,amir", *options)
    methods = collect(wanted, [None] * len(wanted), Path("none.csv"), bootstrap=0)
    assert {one.network: one.rate_of for one in methods} == lenders


@pytest.mark.parametrize("name", ["tabulate", "claims"])
def test_no_table_of_a_search_asks_for_test_scores(command, composing, tmp_path, name) -> None:
    write_run(jobs("table2", "scored=val")[0], tmp_path / "runs", plain_scores)
    options = ["experiment=table2"] if name == "tabulate" else ["seed=0"]
    done = command(name, *options, "scored=val", "output=out")
    assert done.status == 2
    assert "these runs are scored on validation patients" in done.err
    assert "evaluate" not in done.err
    assert not (tmp_path / "out").exists()
