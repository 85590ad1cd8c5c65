"""A W&B workspace that compares networks; only sending it needs an account."""

from collections.abc import Sequence
from functools import partial

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

_STEP = "trainer/global_step"
_METRICS = {"psnr": "PSNR [dB]", "ssim": "SSIM"}


def build_workspace(project: str, entity: str, tasks: Sequence[Task]) -> workspaces.Workspace:
    """Build panels of curves and test scores per task, pictures and configurations.

    Runs are grouped by network: a line and a bar are means over the runs of one network.

    Args:
        project: W&B project that the runs are in.
        entity: User or team; empty for the default of the account.
        tasks: The tasks to show.
    """
    network = panels.Config("network_name")
    curves = [
        panels.LinePlot(
            title=f"{task.title}: {title}, validation",
            x=_STEP,
            y=[f"val/{task.name}/{metric}"],
            title_x="optimiser step",
            title_y=title,
        )
        for task in tasks
        for metric, title in _METRICS.items()
    ]
    bars = [
        panels.BarPlot(
            title=f"{task.title}: {title}, test",
            metrics=[f"test/{task.name}/{metric}"],
            groupby=network,
            groupby_aggfunc="mean",
            title_x=title,
        )
        for task in tasks
        for metric, title in _METRICS.items()
    ]
    pictures = [
        panels.MediaBrowser(
            title=f"{task.title}: {title}", media_keys=[f"{key}/{task.name}"], num_columns=2
        )
        for task in tasks
        for key, title in (("samples", "LQ, restored, HQ, error"), ("routing", "experts"))
    ]
    training = [
        panels.LinePlot(title="loss", x=_STEP, y=["train/loss"], log_y=True),
        panels.LinePlot(
            title="balance loss", x=_STEP, y=[f"router/balance/{task.name}" for task in tasks]
        ),
        panels.LinePlot(title="share of each expert", x=_STEP, metric_regex="router/srm[123]/.*"),
    ]
    section = partial(workspaces.Section, is_open=True)
    columns = [
        "run:displayName",
        "config:scale.value",
        "config:source.value",
        "config:network_name.value",
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="Networks compared",
        sections=[
            section("Validation", [*curves]),
            section("Test", [*bars]),
            section("Samples", [*pictures]),
            section("Training", [*training]),
            section("Configurations", [panels.RunComparer(diff_only=True)]),
        ],
        settings=workspaces.WorkspaceSettings(x_axis=_STEP),
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Config("network_name")], pinned_columns=columns
        ),
    )


def publish(workspace: workspaces.Workspace) -> str:
    """Send a workspace to W&B.

    Args:
        workspace: Result of `build_workspace`.

    Returns:
        Web address of the workspace.

    Raises:
        InputError: There is no account or no connection.
    """
    import wandb

    try:
        if not workspace.entity:
            workspace.entity = wandb.Api().default_entity or ""
        workspace.save()
    except Exception as error:  # wandb raises many types for a missing key, project or connection
        raise InputError(
            f"the workspace could not be sent ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}); "
            "type wandb login first, upload a run with wandb sync, and try again"
        ) from error
    return str(workspace.url)
