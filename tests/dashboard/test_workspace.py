"""The W&B workspace is built and checked without an account; only publishing asks for one."""

import json

import pytest
from conftest import Command

workspace = pytest.importorskip("amir_lightning.dashboard.workspace")

from amir_lightning.tasks import load_task  # noqa: E402


def test_builds_to_a_specification_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    built = workspace.build_workspace("project", "team", [load_task("mri"), load_task("pet")])
    view = json.loads(built._to_model().model_dump_json(by_alias=True))
    assert (view["entity"], view["project"]) == ("team", "project")
    section = view["spec"]["section"]
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["network_name.value"]
    panels = [one for part in section["panelBankConfig"]["sections"] for one in part["panels"]]
    metrics = {name for one in panels for name in one["config"].get("metrics") or []}
    assert {"val/mri/psnr", "val/pet/ssim", "test/pet/psnr"} <= metrics
    assert not any("/ct/" in name for name in metrics)
    lines = [one["config"] for one in panels if one["viewType"] == "Run History Line Plot"]
    assert {config["xAxis"] for config in lines} == {"trainer/global_step"}
    media = {key for one in panels for key in one["config"].get("mediaKeys") or []}
    assert media == {"samples/mri", "samples/pet", "routing/mri", "routing/pet"}
    kinds = {one["viewType"] for one in panels}
    assert {"Bar Chart", "Media Browser", "Run Comparer"} <= kinds


def test_publishing_without_an_account_says_what_to_type(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("No API key configured.")

    monkeypatch.setattr(workspace.workspaces.Workspace, "save", refuse)
    done = command("dashboard", "publish=true", "logger.entity=team")
    assert done.status == 2
    assert "No API key configured" in done.err
    assert "type wandb login first" in done.err
