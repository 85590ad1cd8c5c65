"""What `plan` tells of a sweep before it starts."""

import sys
from pathlib import Path

import pytest
from written_runs import jobs, plain_scores, write_run


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
