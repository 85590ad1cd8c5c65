"""Where metrics go: metrics.csv always, and W&B or TensorBoard beside it."""

import csv
import logging
import netrc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file
from amir_lightning.train.distributed import is_first_process

_log = logging.getLogger(__name__)


def build_loggers(
    options: Mapping[str, Any],
    folder: Path,
    config: Mapping[str, Any],
    step: int,
    wandb_id: str = "",
    group: str | None = None,
) -> list[Logger]:
    """The loggers of a run.

    Args:
        options: The logger node: its name and that logger's options.
        folder: Run folder.
        config: Resolved configuration and source of the data, shown on the dashboard.
        step: Optimiser step that the run starts from; metrics of later steps are from a part that
            is now trained again, and are dropped.
        wandb_id: Identity of the run in W&B, the same when it is resumed.
        group: The experiment that the run is part of, for W&B.

    Raises:
        InputError: The logger is unknown or its package is not installed.
    """
    loggers: list[Logger] = [_csv_logger(folder, step)]
    if options["name"] == "wandb":
        offline = is_offline(options)
        loggers.append(_wandb_logger(options, folder, config, wandb_id, group, offline))
    elif options["name"] == "tensorboard":
        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            raise InputError(
                "logger=tensorboard needs a package that is not installed; type "
                "pip install 'amir-lightning[tensorboard]'"
            ) from error
    elif options["name"] != "csv":
        raise InputError(f"unknown logger '{options['name']}'; choose from csv, wandb, tensorboard")
    return loggers


def is_offline(options: Mapping[str, Any]) -> bool:
    """Whether a W&B logger with these options stays on this machine."""
    if options["offline"] is not None:
        return bool(options["offline"])
    if mode := os.environ.get("WANDB_MODE"):
        return mode != "online"
    return not (os.environ.get("WANDB_API_KEY") or _key_in_netrc())


def log_cases(loggers: Sequence[Logger], rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Show the test scores of each slice as a table, where a logger has tables.

    Args:
        loggers: The loggers of a run.
        rows: One mapping per slice, all with the same keys.
        step: Optimiser step at the end of the run.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger) and rows:
            import wandb

            wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # none is cut off
            data = [list(row.values()) for row in rows]
            logger.log_table("test/cases", columns=list(rows[0]), data=data, step=step)


def close_wandb(succeeded: bool) -> None:
    """End the run in W&B; otherwise the next job of a sweep would continue it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=0 if succeeded else 1)


def _key_in_netrc() -> bool:
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def _csv_logger(folder: Path, step: int) -> CSVLogger:
    """A CSV logger that goes on with the file of an earlier part of the run."""
    # A row goes to disk when it is logged, so that a killed run keeps its curve.
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    path, kept = folder / "metrics.csv", folder / ".metrics.csv.kept"
    if not is_first_process():
        return logger
    if path.exists() and not kept.exists():
        path.rename(kept)
    experiment = logger.experiment  # it would remove the file
    if not kept.exists():
        return logger
    with kept.open(newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        rows = [row for row in reader if _is_before(row, step)]
    if rows:
        with complete_file(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        experiment.metrics_keys = columns
    kept.unlink()
    return logger


def _is_before(row: Mapping[str, str | None], step: int) -> bool:
    """Whether a row is of an earlier step, and whole: a crash may cut the last one."""
    number = row.get("step") or ""
    return None not in row.values() and number.isdigit() and int(number) < step


def _wandb_logger(
    options: Mapping[str, Any],
    folder: Path,
    config: Mapping[str, Any],
    wandb_id: str,
    group: str | None,
    offline: bool,
) -> WandbLogger:
    os.environ.setdefault("WANDB_SILENT", "true")  # read by the import
    import wandb

    logger = WandbLogger(
        project=options["project"],
        entity=options["entity"],
        name=f"{config['task']}-{config['network_name']}-s{config['seed']}",
        id=wandb_id.replace("+", "_"),
        save_dir=folder.resolve(),  # read by another process
        offline=offline,
        group=group,
        job_type="train",
        # Neither a demo run nor phantoms ever pass for the paper's.
        tags=[*config["tasks"], config["scale"], config["source"]],
        config={**config, "run_dir": str(folder)},
        resume="allow",
        settings=wandb.Settings(
            console="off",
            silent=True,
            init_timeout=options["timeout"],
            finish_timeout=options["timeout"],
        ),
    )
    # Lightning 2.6 passes an option on that wandb 0.31 warns about, whatever its value.
    logger._wandb_init.pop("anonymous", None)
    if offline or not is_first_process():
        return logger
    try:
        _ = logger.experiment  # connects
    except (wandb.errors.Error, OSError) as error:
        first = str(error).splitlines()[0]
        _log.warning("W&B cannot be reached (%s); this run is kept offline", first)
        wandb.teardown()  # it would still hold the run's name
        return _wandb_logger(options, folder, config, wandb_id, group, offline=True)
    return logger
