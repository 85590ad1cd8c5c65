"""A network never gets a size that nobody chose."""

import sys
from pathlib import Path

import pytest
from conftest import Command
from own_folder import write_own


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_own(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    scale = tmp_path / "my" / "scale" / "mine.yaml"
    scale.parent.mkdir()
    scale.write_text("# @package _global_\ndefaults: [demo, _self_]\nscale: mine\n")
    return tmp_path


OWN = ["--config-dir", "my"]


@pytest.mark.parametrize(
    "options",
    [
        ["train"],
        ["train", "--cfg", "job"],
        ["plan", "experiment=table2"],
        ["tabulate", "experiment=table2"],
    ],
    ids=" ".join,
)
def test_a_network_without_a_size_at_this_scale_is_refused_by_name(
    options: list[str], mine: Path, command: Command
) -> None:
    name, *more = options
    done = command(name, *OWN, *more, "network=restormer", "scale=mine")
    assert done.status == 2
    assert "network=restormer has no size at scale=mine" in done.err
    assert "type network/size@network=restormer_study, or '~network/size@network' for" in done.err
    assert "write network/size/restormer_mine.yaml" in done.err
    assert not (mine / "runs").exists()


def test_the_advice_helps(mine: Path, command: Command) -> None:
    typed = [*OWN, "network=restormer", "scale=mine", "--cfg", "job"]
    chosen = command("train", *typed, "network/size@network=restormer_demo")
    assert chosen.status == 0, chosen.err
    assert "  width: 8\n" in chosen.out
    whole = command("train", *typed, "~network/size@network")
    assert whole.status == 0, whole.err
    assert "  width: 48\n" in whole.out
    size = mine / "my" / "network" / "size" / "restormer_mine.yaml"
    size.write_text("width: 16\n")
    assert "  width: 16\n" in command("train", *typed).out
    unknown = command("train", *typed, "network/size@network=restormer_dmeo")
    assert unknown.status == 2
    assert "there is no size 'restormer_dmeo' of a network; choose from airnet_demo," in unknown.err


def test_the_size_of_its_own_file_is_that_of_scale_paper_and_of_networks_without_sizes(
    mine: Path, command: Command
) -> None:
    paper = command("train", "network=restormer", "scale=paper", "--cfg", "job")
    assert "  width: 48\n" in paper.out
    typed = [*OWN, "network=small", "task=us", "--cfg", "job"]
    refused = command("train", *typed, "scale=study")  # it has one at scale=demo
    assert "network=small has no size at scale=study" in refused.err
    (mine / "my" / "network" / "size" / "small_demo.yaml").unlink()
    for scale in ("demo", "study", "mine"):
        done = command("train", *typed, f"scale={scale}")
        assert done.status == 0, done.err
        assert "_target_: my_networks.Small\n  width: 8\n" in done.out
    by_class = ["network._target_=my_networks.Small", "scale=study", "task=mri", "--cfg", "job"]
    done = command("train", *by_class)
    assert done.status == 0, done.err
    assert "_target_: my_networks.Small\n" in done.out
