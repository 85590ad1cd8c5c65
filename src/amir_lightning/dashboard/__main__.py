"""``python -m amir_lightning.dashboard``: all runs as one HTML page, or as a workspace in W&B."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command, compose
from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted


@command("dashboard")
def main(cfg: DictConfig) -> None:
    """Write one HTML page of all runs, or publish a workspace."""
    if cfg.publish:
        _publish(cfg)
        return
    from amir_lightning.dashboard.collect import collect_runs
    from amir_lightning.system.atomic import complete_file

    for option, value, least in (
        ("curve_points", cfg.curve_points, 2),
        ("table_rows", cfg.table_rows, 1),
        ("pictures.per_task", cfg.pictures.per_task, 1),
        ("pictures.width", cfg.pictures.width, 1),
        ("pictures.quality", cfg.pictures.quality, 1),
        ("pictures.megabytes", cfg.pictures.megabytes, 0),
    ):
        if value < least:
            raise InputError(
                f"{option} is {value}, expected at least {least}; type {option}={least}"
            )
    if cfg.pictures.quality > 100:
        raise InputError(
            f"pictures.quality is {cfg.pictures.quality}, expected from 1 to 100; type "
            "pictures.quality=80"
        )
    entries, broken = collect_runs(Path(cfg.paths.runs_dir))
    try:
        from amir_lightning.dashboard.embed import Album
        from amir_lightning.dashboard.page import render
    except ModuleNotFoundError as error:
        raise InputError(
            f"the dashboard needs {error.name}, which is not installed; type "
            "pip install 'amir-lightning[dashboard]'"
        ) from error
    pictures = cfg.pictures
    album = Album(pictures.width, pictures.quality, pictures.megabytes)
    html = render(
        entries,
        broken,
        Path(cfg.experiments_dir),
        album,
        pictures.per_task,
        cfg.curve_points,
        cfg.table_rows,
    )
    output = Path(cfg.output)
    with complete_file(output) as partial:
        partial.write_text(html, encoding="utf-8")
    if not Path(cfg.experiments_dir).is_dir():
        print(f"{'left out':>10}  tables and figures: {cfg.experiments_dir} is no folder")
    for name, reason in broken.items():
        print(f"{'broken':>10}  {name}: {reason}")
    if album.left_out:
        print(f"{'left out':>10}  pictures: {album.left_out}; type pictures.megabytes=<more>")
    size = f"{counted('run', len(entries))}, {output.stat().st_size / 1e6:.1f} MB"
    print(f"{'page':>10}  {output} ({size}); open it in a browser")


def _publish(cfg: DictConfig) -> None:
    try:
        from amir_lightning.dashboard.workspace import build_workspace, publish
    except ModuleNotFoundError as error:
        raise InputError(
            f"publish=true needs {error.name}, which is not installed; type "
            "pip install 'amir-lightning[workspace]'"
        ) from error
    from amir_lightning.tasks import Task

    nodes = OmegaConf.to_container(compose("train", []).tasks, resolve=True)
    tasks = [Task.from_config(*one) for one in cast(dict[str, dict[str, Any]], nodes).items()]
    address = publish(build_workspace(cfg.logger.project, cfg.logger.entity or "", tasks))
    print(f"{'workspace':>10}  {address}")


if __name__ == "__main__":
    main()
