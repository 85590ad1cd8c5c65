"""Loggers of a run: metrics.csv in every case, and W&B, TensorBoard or a class of Lightning."""

import csv
import inspect
import logging
import netrc
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file
from amir_lightning.train.distributed import is_first_process

_log = logging.getLogger(__name__)
TENSORBOARD = CONF_DIR / "logger" / "tensorboard.yaml"
"""Options of TensorBoard in the run folder."""

_WANDB = CONF_DIR / "logger" / "wandb.yaml"


def build_loggers(
    options: Mapping[str, Any],
    folder: Path,
    config: Mapping[str, Any],
    step: int,
    wandb_id: str = "",
    group: str | None = None,
) -> list[Logger]:
    """Build the loggers of a run.

    W&B is not built by ``_target_``: it needs the id of the run to resume it, tags, a time limit,
    and a way to go on offline. Neither is the writer of metrics.csv: it continues the file when a
    run is resumed.

    Args:
        options: The logger node: ``name`` (csv, wandb or tensorboard) and that logger's options, or
            ``_target_`` and the arguments of a logger class.
        folder: Run folder.
        config: Resolved configuration and source of the data, shown on the dashboard.
        step: Optimiser step that the run starts from. Metrics of later steps are dropped, because
            these steps are trained again.
        wandb_id: Id of the run in W&B, the same when it is resumed.
        group: Experiment that the run belongs to, for W&B.

    Raises:
        InputError: The logger is unknown, or cannot be built.
    """
    loggers: list[Logger] = [_csv_logger(folder, step)]
    name = options.get("name")
    if "_target_" in options:
        loggers.append(_of_class(options, folder))
    elif name == "wandb":
        options = {**dict(OmegaConf.load(_WANDB)), **options}  # logger=csv logger.name=wandb
        offline = is_offline(options)
        loggers.append(_wandb_logger(options, folder, config, wandb_id, group, offline))
    elif name == "tensorboard":  # logger.name=tensorboard, or an earlier version's run
        loggers.append(_of_class(OmegaConf.load(TENSORBOARD), folder))
    elif name != "csv":
        raise InputError(f"logger.name is '{name}'; choose from csv, wandb, tensorboard")
    return loggers


def is_offline(options: Mapping[str, Any]) -> bool:
    """Whether a W&B logger with these options sends nothing from this machine."""
    if options["offline"] is not None:
        return bool(options["offline"])
    if mode := os.environ.get("WANDB_MODE"):
        return mode != "online"
    return not (os.environ.get("WANDB_API_KEY") or _key_in_netrc())


def log_cases(loggers: Sequence[Logger], rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Log the test scores of each slice as a table of W&B, if W&B is among the loggers.

    Args:
        loggers: Loggers of the run.
        rows: One mapping per slice, all with the same keys.
        step: Optimiser step at the end of the run.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger) and rows:
            import wandb

            wandb.Table.MAX_ROWS = max(wandb.Table.MAX_ROWS, len(rows))  # W&B drops rows beyond
            data = [list(row.values()) for row in rows]
            logger.log_table("test/cases", columns=list(rows[0]), data=data, step=step)


def close_wandb(succeeded: bool) -> None:
    """End the run in W&B, so that the next job of a sweep does not continue it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish(exit_code=0 if succeeded else 1)


def _key_in_netrc() -> bool:
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def _of_class(node: Any, folder: Path) -> Logger:
    """Build the logger of a Hydra node; one that takes ``save_dir`` writes into the run folder."""
    target = str(node["_target_"])
    build = instantiate(node, _partial_=True, _convert_="all")
    if not (isinstance(build.func, type) and issubclass(build.func, Logger)):
        raise InputError(
            f"logger._target_ is {target}, expected a subclass of lightning.pytorch.loggers.Logger"
            "; type logger=csv, or derive the class from it"
        )
    if "save_dir" in inspect.signature(build.func).parameters and "save_dir" not in node:
        build = partial(build, save_dir=folder)
    try:
        return build()
    except ModuleNotFoundError as error:
        package = "amir-lightning[tensorboard]" if "TensorBoard" in target else "<package>"
        raise InputError(
            f"{target} needs a package that is not installed ({error}); type "
            f"pip install '{package}'"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{target} refuses its options ({error}); change logger.*") from error


def _csv_logger(folder: Path, step: int) -> CSVLogger:
    """Build a CSV logger that continues the file of an earlier session of the run."""
    # Each row goes to disk at once, so that a killed run keeps its curve.
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    path, kept = folder / "metrics.csv", folder / ".metrics.csv.kept"
    if not is_first_process():
        return logger
    if path.exists() and not kept.exists():
        path.rename(kept)
    experiment = logger.experiment  # removes a metrics.csv that it finds
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
    """Whether a row is complete (a crash may cut the last one) and of an earlier step."""
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
        save_dir=folder.resolve(),  # absolute, because another process reads it
        offline=offline,
        group=group,
        job_type="train",
        # The tags tell demo runs and phantoms from the paper's experiments.
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
    # wandb 0.31 warns about this option, which Lightning 2.6 always passes.
    logger._wandb_init.pop("anonymous", None)
    if offline or not is_first_process():
        return logger
    try:
        _ = logger.experiment  # connects
    except (wandb.errors.Error, OSError) as error:
        first = str(error).splitlines()[0]
        _log.warning("W&B cannot be reached (%s); this run is kept offline", first)
        wandb.teardown()  # the failed session still holds the id of the run
        return _wandb_logger(options, folder, config, wandb_id, group, offline=True)
    return logger
