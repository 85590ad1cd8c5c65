"""From a composed configuration to the objects of a run: data, module, trainer."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard, cast

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from amir_lightning import runs
from amir_lightning.callbacks import KeepBest, KeepLast, Progress, WeightAverage
from amir_lightning.checkpoints import WholeCheckpoints
from amir_lightning.data.datamodule import LoadingOptions, MultiTaskDataModule, TaskDataModule
from amir_lightning.data.embedded import Cohort, embedded_store
from amir_lightning.data.splits import Split
from amir_lightning.data.store import Store
from amir_lightning.errors import InputError
from amir_lightning.metrics import METRICS
from amir_lightning.modules import RestorationModule, module_class
from amir_lightning.networks.checkpoints import archive
from amir_lightning.networks.checkpoints.start import start_from
from amir_lightning.pretrained import first_mismatch
from amir_lightning.tasks import Task, parse_tasks

_log = logging.getLogger(__name__)


def plain(node: DictConfig) -> dict[str, Any]:
    """A resolved configuration node as plain types."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, throw_on_missing=True))


def active_tasks(cfg: DictConfig) -> list[Task]:
    """The tasks that ``task=...`` names, in canonical order."""
    names = parse_tasks(cfg.task, cfg.tasks)
    return [Task.from_config(name, plain(cfg.tasks[name])) for name in names]


def locate_data(cfg: DictConfig, tasks: list[Task]) -> dict[Task, Path]:
    """The file that each task reads, and one plain line per task that says which.

    Raises:
        InputError: ``data.source`` is "prepared" and a prepared file is missing, or a file cannot
            be read.
    """
    if cfg.data.source not in ("auto", "prepared", "phantoms"):
        raise InputError(
            f"data.source is '{cfg.data.source}'; choose from auto, prepared, phantoms"
        )
    cohort = Cohort(**plain(cfg.data.phantoms))
    found = {}
    for task in tasks:
        prepared = Path(cfg.paths.prepared_dir) / f"{task.name}.h5"
        if cfg.data.source != "phantoms" and prepared.exists():
            _log.info("%s: prepared data %s", task.name, prepared)
            found[task] = prepared
            continue
        prepare = f"python -m amir_lightning.prepare task={task.name} raw_dir=<folder>"
        if cfg.data.source == "prepared":
            raise InputError(
                f"{prepared} does not exist, and scale={cfg.scale} needs prepared data; type "
                f"{prepare} first (or data.source=phantoms to train on embedded phantoms)"
            )
        reason = "" if cfg.data.source == "phantoms" else f" ({prepared} does not exist; {prepare})"
        _log.info("%s: embedded phantoms%s", task.name, reason)
        found[task] = embedded_store(task, cohort, Path(cfg.paths.phantom_dir))
    return found


def fingerprints(stores: Mapping[Task, Path]) -> dict[str, str]:
    """Content hash of each task's file, whose slices are listed before a run is opened for them.

    Raises:
        InputError: A file is damaged or of another task.
    """
    opened = {task.name: Store(path, task.name) for task, path in stores.items()}
    for store in opened.values():
        store.patients("train")
    return {name: store.fingerprint for name, store in opened.items()}


def same_data(stores: Mapping[Task, Path], folder: Path) -> dict[str, str]:
    """Fingerprints of the files, after a look whether they are those that a run was trained on.

    Raises:
        InputError: A file has other contents than when the run was started.
    """
    found = fingerprints(stores)
    recorded = runs.read_json(folder / "run.json").get("data")
    if not _names_data(recorded) or recorded.keys() != found.keys():
        raise InputError(
            f"{folder / 'run.json'} does not say which data the run was trained on; train it again"
        )
    for name, data in recorded.items():
        if found[name] != data["fingerprint"]:
            raise InputError(
                f"the data of {name} changed since {folder.name} was started from {data['file']}: "
                f"fingerprint {data['fingerprint'][:12]} then, {found[name][:12]} now; start a new "
                "run, or score other data on purpose: type evaluate source=phantoms or "
                "source=prepared"
            )
    return found


def _names_data(recorded: object) -> TypeGuard[dict[str, dict[str, Any]]]:
    return isinstance(recorded, dict) and all(
        isinstance(one, dict) and isinstance(one.get("fingerprint"), str) and "file" in one
        for one in recorded.values()
    )


def build_module(cfg: DictConfig, tasks: list[Task], start: bool = False) -> RestorationModule:
    """Network and objective, with weights drawn from ``seed``.

    Args:
        cfg: Configuration of a run.
        tasks: Its tasks.
        start: Whether the network starts from ``network.pretrained``, if that is set.

    Raises:
        InputError: The network refuses its arguments or the weights.
    """
    if cfg.metrics not in METRICS:
        raise InputError(f"metrics is '{cfg.metrics}'; choose from {', '.join(METRICS)}")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    network_config = plain(cfg.network)
    pretrained = network_config.pop("pretrained")
    network = instantiate(network_config)
    if start and pretrained is not None:
        for line in start_from(network, Path(pretrained)).lines(Path(pretrained)):
            _log.info("%s", line)
    module = module_class(cfg.loss.objective)(
        network=network,
        network_config=network_config,
        tasks={task.name: plain(cfg.tasks[task.name]) for task in tasks},
        loss=plain(cfg.loss),
        optimizer=plain(cfg.optimizer),
        metrics=cfg.metrics,
        seed=cfg.seed,
        on_nan=cfg.on_nan,
    )
    if not module.automatic_optimization:
        _refuse_for_two_optimisers(plain(cfg))
    elif cfg.optimizer.adjustable_clip is not None and cfg.trainer.gradient_clip_val:
        raise InputError(
            "optimizer.adjustable_clip and trainer.gradient_clip_val both clip; type one of them"
        )
    module.network.recompute(cfg.recompute)
    return module


def compile_network(cfg: DictConfig, module: RestorationModule) -> None:
    """Make training passes fast, and record them where each step is one pass of one process."""
    trainer = plain(cfg.trainer)
    one_pass = (
        cfg.loss.objective == "plain"
        and trainer["accumulate_grad_batches"] == 1
        and trainer["strategy"] == "auto"
        and trainer["num_nodes"] == 1
        and trainer["devices"] in (1, "1", [0])
    )
    replays = one_pass and torch.cuda.is_available() and trainer["accelerator"] != "cpu"
    _log.info("training passes are compiled%s", " and replayed" * replays)
    module.network.compile(replays=replays)


def _refuse_for_two_optimisers(config: Mapping[str, Any]) -> None:
    trainer, theta = config["trainer"], config["optimizer"]["adjustable_clip"]
    for option, value, possible in (
        ("trainer.accumulate_grad_batches", trainer["accumulate_grad_batches"], (1,)),
        ("trainer.gradient_clip_val", trainer["gradient_clip_val"], (0, None)),
        (
            "trainer.precision",
            str(trainer["precision"]),
            ("32-true", "32", "bf16-mixed", "64-true"),
        ),
        ("optimizer.adjustable_clip", theta, (None,)),
    ):
        if value not in possible:
            raise InputError(
                f"{option} is {value}, which two optimisers in turn cannot do; leave that option "
                "out, or type loss=l1_balance to train without a critic"
            )


def build_data(
    cfg: DictConfig, stores: Mapping[Task, Path], test_split: Split = "test"
) -> MultiTaskDataModule:
    """The training stream and the evaluation slices of the chosen tasks."""
    options = LoadingOptions(
        patch_size=cfg.data.patch_size,
        batch_size=cfg.data.batch_size,
        num_workers=cfg.data.num_workers,
        validation_slices=cfg.validation.slices,
        policy=cfg.sampling.policy,
        temperature=cfg.sampling.temperature,
        seed=cfg.seed,
        positives=cfg.loss.objective == "contrastive",
    )
    parts = [TaskDataModule(task, path, options, test_split) for task, path in stores.items()]
    return MultiTaskDataModule(parts, options)


def build_trainer(cfg: DictConfig, folder: Path, loggers: list[Logger]) -> pl.Trainer:
    """A trainer that validates by optimiser steps and keeps the best and the last checkpoint.

    Raises:
        InputError: A trainer option has no meaning here.
    """
    options = plain(cfg.trainer)
    every, steps = min(cfg.validation.every, options["max_steps"]), options["max_steps"]
    if every < 1 or steps % every:
        raise InputError(
            f"trainer.max_steps is {steps} and validation.every is {cfg.validation.every}; the "
            f"last step is validated, so type for instance validation.every={max(steps // 4, 1)} "
            f"trainer.max_steps={max(steps // 4, 1) * 4}"
        )
    average = cfg.optimizer.get("average_decay")  # runs of earlier versions have no such option
    if "spawn" in options["strategy"]:
        raise InputError("trainer.strategy=ddp_spawn loses the result; type trainer.strategy=ddp")
    if options["strategy"] == "fsdp":
        if cfg.loss.objective != "plain":
            raise InputError(
                f"trainer=fsdp splits one network, and loss.objective={cfg.loss.objective} trains "
                "two; type trainer=ddp, or loss=l1_balance"
            )
        if average is not None:
            raise InputError(
                "trainer=fsdp splits the weights that optimizer.average_decay would average; type "
                "trainer=ddp, or optimizer.average_decay=null"
            )
        # Gradients and optimiser are split. Weights are whole while a step runs: the network is
        # called by more than its forward, which is all that finer splitting would see.
        options["strategy"] = FSDPStrategy(
            sharding_strategy="SHARD_GRAD_OP", state_dict_type="full", cpu_offload=False
        )
    callbacks: list[Callback] = [instantiate(plain(node)) for node in cfg.callbacks.values()]
    if average is not None:
        callbacks.append(WeightAverage(average, cfg.optimizer.average_warmup))
    checkpoints = folder / "checkpoints"
    best = KeepBest(checkpoints)
    last = KeepLast(checkpoints, cfg.checkpoint.every, every)
    try:
        return pl.Trainer(
            default_root_dir=folder,
            logger=loggers,
            callbacks=[*callbacks, Progress(), best, last],
            max_epochs=-1,
            # Lightning counts batches here, not optimiser steps.
            val_check_interval=every * options["accumulate_grad_batches"],
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            plugins=[WholeCheckpoints()],
            use_distributed_sampler=False,  # the data module deals out the slices itself
            enable_model_summary=False,
            **options,
        )
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        first = str(error).splitlines()[0]
        advice = "type trainer=cpu" if "No supported gpu" in first else "change trainer.*"
        raise InputError(f"the trainer refuses its options: {first}; {advice}") from error


def load_weights(module: RestorationModule, checkpoint: Path) -> int:
    """Load the network's weights from a checkpoint and return its optimiser step.

    Raises:
        InputError: The file is missing, damaged, or holds another network.
    """
    try:
        content = archive.load(checkpoint)
        weights, step = content["state_dict"], int(content["global_step"])
    except FileNotFoundError as error:
        raise InputError(
            f"{checkpoint} does not exist; a run writes it at its first validation"
        ) from error
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise InputError(
            f"{checkpoint} is not a readable checkpoint ({type(error).__name__}); "
            "evaluate another (checkpoint=best or last), or remove it to train again from the start"
        ) from error
    mismatch = first_mismatch(module.state_dict(), weights)
    if mismatch:
        raise InputError(
            f"{checkpoint} holds another network: {mismatch}; give a checkpoint of the run's own "
            "network"
        )
    module.load_state_dict(weights)
    return step
