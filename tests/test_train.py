"""The train command: its folder, its result, resuming, repeating."""

import csv
import functools
import json
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import Command
from power_cut import power_cut

from amir_lightning.cli import compose
from amir_lightning.train.build import compile_network


def run_folder(runs: Path = Path("runs")) -> Path:
    (folder,) = [path.parent for path in runs.glob("*/run.json")]
    return folder


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    path = folder / "checkpoints" / f"{name}.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_run_leaves_its_folder_complete(train: Command) -> None:
    done = train("task=pet+mri")
    assert done.status == 0, done.err
    folder = run_folder()
    assert folder.name.startswith("mri+pet-amir-demo-s0-")

    result = json.loads((folder / "result.json").read_text())
    for task in ("mri", "pet"):
        for score in ("psnr", "ssim", "rmse", "input_psnr", "input_ssim", "input_rmse"):
            assert isinstance(result[f"test/{task}/{score}"], float)
    assert not [key for key in result if "/ct/" in key]

    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["effective_batch"] == 4
    assert record["step"] == 4
    assert record["parameters"] > 0
    assert {"torch", "lightning", "amir-lightning"} <= record["versions"].keys()
    assert set(record["data"]) == {"mri", "pet"}
    assert record["data"]["mri"]["fingerprint"]

    assert (folder / "config.yaml").exists()
    assert (folder / "evaluation" / "test" / "slices.csv").exists()
    assert len(list((folder / "samples").glob("mri-step*.png"))) == 2
    with (folder / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert {"val/mri/psnr", "val/avg/psnr", "train/loss", "train/balance"} <= set(columns)
    assert any(column.startswith("router/srm1/pet/expert") for column in columns)

    for text in ("MRI Super-Resolution", "input", "restored", "PSNR", "next"):
        assert text in done.out
    assert "embedded phantoms" in done.err


def test_order_of_tasks_is_the_same_run_and_a_finished_run_is_shown_again(train: Command) -> None:
    first = train("task=mri+ct")
    second = train("task=ct+mri")
    assert first.status == second.status == 0
    assert "finished before" in second.err
    assert first.out.splitlines()[-4:] == second.out.splitlines()[-4:]
    assert train("task=ct+mri", "trainer.max_steps=2").status == 0
    assert len(list(Path("runs").glob("*/run.json"))) == 2


def test_repeat_trains_the_same_again_in_its_own_folder(train: Command) -> None:
    assert train("task=mri").status == train("task=mri", "repeat=2").status == 0
    one, two = Path("runs").glob("*/result.json")
    assert one.read_text() == two.read_text()


def test_names_do_not_depend_on_the_machine_or_on_what_is_shown(train: Command) -> None:
    assert train("task=mri").status == 0
    again = train("task=mri", "trainer.log_every_n_steps=2", "tasks.mri.error_window=100")
    assert "finished before" in again.err


def test_same_seed_same_run_bit_for_bit_and_another_seed_another(train: Command) -> None:
    for runs, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train("task=mri+ct", f"paths.runs_dir={runs}", f"seed={seed}").status == 0
    one, two, three = (run_folder(Path(runs)) for runs in "abc")
    assert_equal(weights(one), weights(two))
    assert (one / "result.json").read_text() == (two / "result.json").read_text()
    other = weights(three)
    assert any(not torch.equal(tensor, other[name]) for name, tensor in weights(one).items())


def test_a_compiled_training_is_the_same_run(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("task=mri+ct", "sampling=balanced")
    assert train(*options, "paths.runs_dir=plain").status == 0
    torch._dynamo.reset()
    compiled = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> object:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    assert train(*options, "paths.runs_dir=fast", "compile=true").status == 0
    assert compiled
    plain, fast = run_folder(Path("plain")), run_folder(Path("fast"))
    assert plain.name == fast.name
    # Four steps of Adam at up to 3e-3 move weights by hundreds of times as much.
    torch.testing.assert_close(weights(fast), weights(plain), atol=1e-4, rtol=0)
    last, before = (weights(plain, name)["network.head.weight"] for name in ("last", "previous"))
    assert (last - before).abs().max() > 1e-3


def test_compiling_for_a_cpu_is_warned_of(
    composing: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    warning = "0.88 times as fast as without at paper size and 0.09 times at demo size"
    for gpu, options, warned in (
        (False, [], True),
        (False, ["trainer=cpu"], True),
        (True, ["trainer=cpu"], True),
        (True, [], False),
        (True, ["trainer=gpu"], False),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda gpu=gpu: gpu)
        caplog.clear()
        compile_network(compose("train", options), mock.Mock())
        assert (warning in caplog.text) is warned
        assert ("type compile=false" in caplog.text) is warned


def test_the_machine_may_change_how_a_run_goes_on(train: Command, command: Command) -> None:
    assert train("task=mri").status == 0
    done = command("train", "run=last", "compile=true", "recompute=1")
    assert done.status == 0, done.err
    assert "finished before" in done.err


@pytest.mark.parametrize(
    ("options", "replays"),
    [
        ([], True),
        (["trainer.devices=[0]"], True),
        (["trainer=gpu"], True),
        (["trainer=cpu"], False),
        (["trainer=ddp"], False),
        (["trainer.devices=-1"], False),
        (["trainer.accumulate_grad_batches=2"], False),
        (["loss=adversarial"], False),
    ],
)
def test_a_step_of_one_pass_of_one_process_is_replayed(
    composing: None, monkeypatch: pytest.MonkeyPatch, options: list[str], replays: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    module = mock.Mock()
    compile_network(compose("train", options), module)
    module.network.compile.assert_called_once_with(replays=replays)


@pytest.mark.parametrize("steps_before", [3, 5])
def test_a_stopped_run_resumes_to_the_same_weights(
    train: Command, command: Command, steps_before: int
) -> None:
    """The run is cut in the middle of an epoch and between two validations."""
    options = ("task=mri+pet", "trainer.max_steps=6", "sampling=balanced")
    assert train(*options, "paths.runs_dir=whole").status == 0

    with power_cut(steps_before):
        train(*options, "paths.runs_dir=cut")
    record = json.loads((run_folder(Path("cut")) / "run.json").read_text())
    assert record["status"] == "failed"

    resumed = command("train", "run=last", "paths.runs_dir=cut")
    assert resumed.status == 0, resumed.err
    assert f"at step {steps_before // 2 * 2}" in resumed.err
    whole, cut_in_two = run_folder(Path("whole")), run_folder(Path("cut"))
    for name in ("last", "best"):
        assert_equal(weights(whole, name), weights(cut_in_two, name))
    assert (whole / "result.json").read_text() == (cut_in_two / "result.json").read_text()
    assert _curve(whole) == _curve(cut_in_two)


def _curve(folder: Path) -> list[tuple[str, str]]:
    """Validation scores by step, as logged."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [(row["step"], row["val/avg/psnr"]) for row in rows if row["val/avg/psnr"]]
