"""What `plan` tells of a sweep before it starts."""

import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import TINY, Command
from omegaconf import OmegaConf
from written_runs import jobs, plain_scores, write_run

from amir_lightning.config import CONF_DIR
from amir_lightning.plan import timing


def test_plan_tells_states_and_hours(command, composing, tmp_path: Path) -> None:
    options = ("task=mri,mri+ct", "seed=0,1", "trainer.max_steps=300")
    first, second, *_ = jobs("table3", *options)
    write_run(first, tmp_path / "runs", plain_scores)
    write_run(second, tmp_path / "runs", plain_scores, finished=False)
    done = command("plan", "experiment=table3", *options)
    assert done.status == 0, done.err
    assert "4: 1 finished, 1 started, 2 new" in done.out
    # 600 steps took 10 minutes; the started run has recorded that it took all of its steps.
    assert "needed  10 min, one job after the other" in done.out
    assert "unknown" in command("plan", "experiment=figure1").out
    start = f"python -m amir_lightning.train -m experiment=table3 {' '.join(options)}"
    assert start in done.out
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "mri-amir-s0",
        "mri-amir-s1",
    ]


def test_plan_cuts_no_name_and_tells_what_it_cannot_know(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("plan", "experiment=table4")
    assert "amir_no_dictionary" in done.out  # no terminal
    assert "needed  unknown until one run of the network has finished (amir, " in done.out
    assert "0 MB of disk" not in done.out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    folded = command("plan", "experiment=table4", "scale=paper").out
    assert "…" not in folded
    assert "unknown" in folded


@pytest.mark.usefixtures("composing")
def test_plan_tells_hours_above_one_hour_and_nothing_of_a_finished_sweep(command, tmp_path) -> None:
    write_run(jobs("figure4")[0], tmp_path / "runs", plain_scores)
    assert "needed  nothing" in command("plan", "experiment=figure4").out
    # 600 steps took 10 minutes.
    many = command("plan", "experiment=figure4", "trainer.max_steps=6000")
    assert "needed  1.7 hours, one job after the other" in many.out


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated")  # as commands do
def test_time_is_told_from_some_steps_of_each_network(
    composing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that advances by one second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    own = [f"paths.data_dir={tmp_path / 'data'}", f"paths.runs_dir={tmp_path / 'runs'}"]
    length = ["trainer.max_steps=3600", "validation.every=900"]
    found = jobs("figure4", *TINY, *own, *length, "seed=0,1")
    estimate, drawing = timing.from_steps(found, 3)
    # 4 validations of 2 slices of 3 tasks, which end in a second; then 2 test slices of each task.
    whole = 3600 + 4 * (3 * 2 + 1) + 3 * 2
    assert estimate(found[0], 3600) == estimate(found[1], 3600)
    assert estimate(found[0], 3600).seconds == whole
    assert estimate(found[0], 900).seconds == 900 + (3 * 2 + 1) + 3 * 2
    assert estimate(found[0], 3600).num_bytes > 100_000
    assert drawing == pytest.approx(3 * 4 / 3)  # a second for three patients, of which there are 4
    assert not list(tmp_path.rglob("*.h5"))
    assert not (tmp_path / "runs").exists()


def test_a_measured_plan_trains_nothing_that_stays(command: Command, tmp_path: Path) -> None:
    named = ["experiment=table3", "task=mri", "time=true", "timed_steps=2", *TINY]
    done = command("plan", *named, "data.phantoms.seed=9", f"paths.data_dir={tmp_path / 'data'}")
    assert done.status == 0, done.err
    assert "unknown" not in done.out
    assert "data  1 min to draw the embedded patients, once" in done.out
    assert "needed  1 min, one job after the other, and " in done.out
    assert "timing 2 steps of amir" in done.err
    assert not list(tmp_path.rglob("*.h5"))
    assert not (tmp_path / "runs").exists()
    for option, text in (
        ("timed_steps=0", "expected at least 1"),
        ("trainer=ddp_sim", "time=true measures one process"),
    ):
        refused = command("plan", *[one for one in named if "steps=2" not in one], option)
        assert refused.status == 2
        assert text in refused.err


def test_a_plan_of_several_sweeps_counts_shared_runs_once(command: Command, tmp_path: Path) -> None:
    sweeps = tmp_path / "my" / "sweeps" / "few.yaml"
    sweeps.parent.mkdir(parents=True)
    sweeps.write_text(
        "# @package _global_\nsweeps:\n  one: [experiment=figure4 seed=0]\n"
        "  two: ['experiment=table3 seed=0,1', experiment=figure1]\n"
    )
    done = command("plan", "--config-dir", "my", "sweeps=few", "trainer.max_steps=300")
    assert done.status == 0, done.err
    assert "one, experiment=figure4" in done.out
    assert "two, experiment=table3" in done.out
    assert "jobs  1: 1 new" in done.out
    assert "jobs  14: 13 new, 1 shared" in done.out
    assert "experiment=table3 seed=0,1 trainer.max_steps=300" in done.out
    assert re.findall(r"^ +(one|two|needed)  ", done.out, re.MULTILINE) == ["one", "two", "needed"]
    both = command("plan", "--config-dir", "my", "sweeps=few", "experiment=table2")
    assert both.status == 2
    assert "sweeps and experiment both say what is planned" in both.err


def test_the_verbs_of_the_study_start_its_sweeps() -> None:
    """Each tier of conf/sweeps/study.yaml is a verb of the Makefile, with the same sweeps."""
    text = (Path(__file__).parents[1] / "Makefile").read_text()
    tiers = OmegaConf.load(CONF_DIR / "sweeps" / "study.yaml")["sweeps"]
    assert list(tiers) == ["tier1", "tier2", "tier3", "tier4"]
    for number, sweeps in enumerate(tiers.values(), 1):
        (recipe,) = re.findall(rf"^study-{number}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
        started = []
        for verb, options in re.findall(
            r"\$\(MAKE\) (\w+)(?: OPTIONS=\"(.*) \$\(OPTIONS\)\")?", recipe
        ):
            started.append(f"experiment={verb} {options or 'scale=study'}")
        assert started == list(sweeps)
