"""Two processes that want the same: one does it, the other waits, or takes another job."""

from pathlib import Path

import pytest
from launched import SHORT, TRAIN, Launched, last, record, saved_at

OPTIONS = [*SHORT, "trainer.max_steps=4", "validation.every=4"]


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_and_taken_over_when_that_is_dead(
    tmp_path: Path, data_dir: Path
) -> None:
    options = [*SHORT, "trainer.max_steps=4000", "validation.every=2000", "checkpoint.every=1"]
    options += [f"paths.data_dir={data_dir}"]
    owner = Launched(tmp_path, *TRAIN, *options)
    owner.until(lambda: last(tmp_path / "runs").exists())
    status, said = Launched(tmp_path, *TRAIN, *options).wait()
    assert status == 75, said[-3000:]
    assert f"process {owner.process.pid} of" in said
    assert "is training mri-amir-demo" in said
    owner.kill()
    before = saved_at(tmp_path / "runs")
    heir = Launched(tmp_path, *TRAIN, *options)
    heir.until(lambda: saved_at(tmp_path / "runs") > before)
    heir.kill()
    assert len(record(tmp_path / "runs")["sessions"]) == 2


@pytest.mark.faults
def test_two_machines_share_a_sweep_without_training_a_run_twice(
    tmp_path: Path, data_dir: Path
) -> None:
    sweep = ["-m", *OPTIONS, "seed=0,1,2", f"paths.data_dir={data_dir}"]
    both = [Launched(tmp_path, *TRAIN, *sweep) for _ in range(2)]
    for one in both:
        status, said = one.wait()
        assert status == 0, said[-3000:]
    folders = list(tmp_path.glob("runs/*/result.json"))
    assert len(folders) == 3
    for path in tmp_path.glob("runs/*/run.json"):
        assert '"from_step"' in path.read_text()
        assert path.read_text().count('"from_step"') == 1


@pytest.mark.slow
def test_two_processes_draw_the_same_patients_once(tmp_path: Path) -> None:
    both = [Launched(tmp_path, *TRAIN, *OPTIONS, f"seed={seed}") for seed in (0, 1)]
    said = []
    for one in both:
        status, text = one.wait()
        assert status == 0, text[-3000:]
        said.append(text)
    assert "".join(said).count("drawing 4 embedded patients") == 1
    (store,) = tmp_path.glob("data/phantoms/*")
    assert store.suffix == ".h5"
    assert not list(tmp_path.glob("data/phantoms/.*"))
