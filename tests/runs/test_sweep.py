"""The experiments are the paper's, share their runs, and are found again by content."""

import json
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from written_runs import jobs, plain_scores, write_run

from amir_lightning.errors import InputError
from amir_lightning.runs import sweep
from amir_lightning.runs.sweep import Job, experiment_of

pytestmark = pytest.mark.usefixtures("composing")

ALL = ("mri", "ct", "pet")
TABLE1 = {
    "mri": ["srcnn", "vdsr", "swinir", "restormer", "amir"],
    "ct": ["chen_cnn", "redcnn", "eformer", "ctformer", "amir"],
    "pet": ["xiang", "dcnn", "argan", "spach", "amir"],
}


def locate(wanted: list[Job], runs_dir: Path) -> list[Path | None]:
    return [run and run.path for run in sweep.locate(wanted, runs_dir)]


def pairs(found: list[Job]) -> list[tuple[str, tuple[str, ...]]]:
    return [(job.network, job.tasks) for job in found]


def test_table1_is_five_methods_of_each_task() -> None:
    expected = [(network, (task,)) for task, row in TABLE1.items() for network in row]
    assert pairs(jobs("table1")) == expected


@pytest.mark.parametrize("experiment", ["table2", "figure3", "clinical"])
def test_table2_is_six_methods_on_all_tasks(experiment: str) -> None:
    methods = ["restormer", "eformer", "spach", "drmc", "airnet", "amir"]
    assert pairs(jobs(experiment)) == [(network, ALL) for network in methods]


def test_successors_share_the_runs_of_table2_and_bring_their_own_objectives() -> None:
    found = jobs("successors")
    extra = ["promptir", "restore_rwkv", "tat", "amir", "amir"]
    methods = ["restormer", "eformer", "spach", "drmc", "airnet", *extra]
    assert pairs(found) == [(network, ALL) for network in methods]
    table2 = {job.network: job.cfg for job in jobs("table2")}
    for job in found:
        assert job.cfg.sampling == table2["amir"].sampling
        assert job.cfg.data == table2["amir"].data
        assert job.cfg.trainer == table2["amir"].trainer
        if job.network in table2 and job.cfg.optimizer.algorithm == "adam":
            assert job.cfg == table2[job.network]
    decayed = [job for job in found if job.cfg.optimizer.algorithm == "adamw"]
    assert [job.network for job in decayed] == ["tat", "amir"]
    assert [job.cfg.loss.objective for job in decayed] == ["task_adaptive", "plain"]
    averages = [job.cfg.optimizer.average_decay for job in jobs("successors", "scale=paper")]
    assert averages == [None] * 7 + [0.999, None, 0.999]


def test_table3_is_amir_on_all_seven_combinations() -> None:
    found = jobs("table3")
    assert {job.network for job in found} == {"amir"}
    combinations = [{"mri"}, {"ct"}, {"pet"}, {"mri", "ct"}, {"mri", "pet"}, {"ct", "pet"}, {*ALL}]
    assert [set(job.tasks) for job in found] == combinations


def test_table4_is_the_baseline_amir_and_amir_without_its_parts() -> None:
    parts = ["amir_no_dictionary", "amir_contrastive", "amir_no_srm", "amir_no_crm"]
    assert pairs(jobs("table4")) == [(network, ALL) for network in ["restormer", *parts, "amir"]]


@pytest.mark.parametrize(("experiment", "network"), [("figure1", "restormer"), ("figure4", "amir")])
def test_figures_of_one_network(experiment: str, network: str) -> None:
    assert pairs(jobs(experiment)) == [(network, ALL)]


@pytest.mark.parametrize("experiment", ["table1", "table2", "table3", "table4", "successors"])
def test_every_method_has_the_same_budget(experiment: str) -> None:
    budgets = {
        (
            job.cfg.trainer.max_steps,
            job.cfg.validation.every,
            job.cfg.data.batch_size,
            job.cfg.data.patch_size,
        )
        for job in jobs(experiment)
    }
    assert len(budgets) == 1
    steps, every = budgets.pop()[:2]
    assert steps >= 5 * every  # a curve, not a dot


def test_scale_paper_has_the_papers_budget() -> None:
    for job in jobs("table2", "scale=paper"):
        assert job.cfg.trainer.max_steps == 200_000
        assert (job.cfg.data.batch_size, job.cfg.data.patch_size) == (8, 128)


def test_options_narrow_and_widen_a_sweep() -> None:
    found = jobs("table2", "network=amir,restormer", "seed=0,1,2", "trainer.max_steps=300")
    assert [(job.network, job.seed) for job in found] == [
        (network, seed) for network in ("amir", "restormer") for seed in range(3)
    ]
    assert {job.cfg.trainer.max_steps for job in found} == {300}


@pytest.mark.parametrize(
    "options",
    [
        ["seed=0,1", "network=amir,restormer", "task=mri"],
        ["seed=range(0,3)", "~callbacks.routing", "+mine=a"],
        ["network=glob(amir_no*)", "seed=choice(2,1)"],
        ["task=mri,ct", "seed=1", "task=pet"],
    ],
)
def test_a_sweep_is_expanded_as_hydra_expands_it(options: list[str]) -> None:
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    swept = ["network=amir", "task=mri+ct+pet"]  # of figure 4
    parsed = parser.parse_overrides([*swept, "experiment=figure4", *options])
    (batch,) = BasicSweeper.split_arguments(parsed, None)
    assert [list(job.overrides) for job in jobs("figure4", *options)] == batch


def test_tables_share_the_run_of_amir_on_all_tasks(tmp_path: Path) -> None:
    folder = write_run(jobs("figure4")[0], tmp_path, plain_scores)
    counts = {"table2": 6, "table3": 7, "table4": 6, "figure3": 6, "clinical": 6}
    for experiment, count in counts.items():
        found = locate(jobs(experiment), tmp_path)
        assert found == [None] * (count - 1) + [folder]
    assert locate(jobs("table1"), tmp_path) == [None] * 15


def test_another_content_is_another_run(tmp_path: Path) -> None:
    write_run(jobs("figure4")[0], tmp_path, plain_scores)
    for option in ("seed=1", "optimizer.learning_rate=0.1", "metrics=standard", "repeat=2"):
        assert locate(jobs("figure4", option), tmp_path) == [None], option
    for option in ("trainer.accelerator=cpu", "logger=csv", "data.num_workers=3"):
        assert locate(jobs("figure4", option), tmp_path) != [None], option


def test_a_finished_run_goes_before_a_newer_one_that_is_not(tmp_path: Path) -> None:
    (job,) = jobs("figure4")
    done = write_run(job, tmp_path, plain_scores, name="done")
    write_run(job, tmp_path, plain_scores, finished=False, started="2027", name="newer")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert locate([job], tmp_path) == [done]
    newest = write_run(job, tmp_path, plain_scores, started="2028", name="newest")
    assert locate([job], tmp_path) == [newest]


@pytest.mark.parametrize(
    ("file", "content"),
    [("run.json", "garbage"), ("run.json", "[]"), ("config.yaml", "[]"), ("config.yaml", "a: [")],
)
def test_a_damaged_folder_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, content: str
) -> None:
    (job,) = jobs("figure4")
    done = write_run(job, tmp_path, plain_scores, name="done")
    damaged = write_run(job, tmp_path, plain_scores, started="2027", name="damaged")
    (damaged / file).write_text(content)
    assert locate([job, job], tmp_path) == [done, done]
    assert caplog.text.count(f"left out, cannot be read: {damaged}") == 1
    assert len(caplog.records) == 1


def test_mistakes_say_what_to_type() -> None:
    with pytest.raises(InputError, match="choose from clinical, .*table4"):
        jobs("table5")
    with pytest.raises(InputError, match="unknown network 'amri'; choose from"):
        jobs("table2", "network=amri")
    with pytest.raises(InputError, match="type experiment=<name>"):
        experiment_of(["seed=0"])
    assert experiment_of(["seed=0", "experiment=table1"]) == ("table1", ["seed=0"])


def test_runs_of_several_processes_are_found_by_the_batch_of_all(tmp_path: Path) -> None:
    def written(job: Job, processes: int) -> Path:
        folder = write_run(job, tmp_path, plain_scores, name=f"{processes}")
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**record, "processes": processes}))
        return folder

    (single,) = jobs("figure4", "data.batch_size=8")
    (shared,) = jobs("figure4", "data.batch_size=4", "trainer=ddp_sim")
    (many,) = jobs("figure4", "data.batch_size=4", "trainer=ddp")
    (apart,) = jobs("figure4", "data.batch_size=8", "trainer=ddp_sim")
    two = written(shared, 2)
    # Of a job that takes all devices of a machine nobody else can tell how many there were.
    assert locate([single, shared, many, apart], tmp_path) == [two, two, two, None]
