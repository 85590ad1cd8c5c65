"""Build the objects of a run from its configuration: module, data, trainer."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from amir_lightning.callbacks import KeepBest, KeepLast, Progress, WeightAverage
from amir_lightning.config import plain
from amir_lightning.data.datamodule import LoadingOptions, MultiTaskDataModule, TaskDataModule
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.metrics import METRICS
from amir_lightning.modules import RestorationModule, module_class
from amir_lightning.modules.freezing import freeze
from amir_lightning.networks import RestorationNetwork
from amir_lightning.networks.checkpoints.initialize import start_from
from amir_lightning.runs.checkpoint_io import WholeCheckpoints
from amir_lightning.tasks import Task
from amir_lightning.weights.folder import find_shipped

_log = logging.getLogger(__name__)


def build_module(cfg: DictConfig, tasks: list[Task], start: bool = False) -> RestorationModule:
    """Build the network and its objective, with weights drawn from ``seed``.

    Args:
        cfg: Configuration of the run.
        tasks: Tasks of the run.
        start: Whether to load ``network.pretrained``, if that is set.

    Raises:
        InputError: The network refuses its arguments or the weights.
    """
    if cfg.metrics not in METRICS:
        raise InputError(f"metrics is '{cfg.metrics}'; choose from {', '.join(METRICS)}")
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    network_config = plain(cfg.network)
    pretrained = network_config.pop("pretrained")
    network = instantiate(network_config)
    if not isinstance(network, RestorationNetwork):
        raise InputError(
            f"network._target_ is {network_config.get('_target_')}, expected a subclass of "
            "amir_lightning.networks.RestorationNetwork; derive the class from it"
        )
    if start and pretrained is not None:
        path = find_shipped(pretrained) or Path(pretrained)
        for line in start_from(network, path).lines(path):
            _log.info("%s", line)
    trains = plain(cfg.optimizer).get("trains", "all")  # earlier runs have no such key
    if trains != "all" and cfg.loss.objective != "plain":
        raise InputError(
            f"optimizer.trains={trains} is for trainings without partners or gradients of single "
            f"tasks, and loss.objective is {cfg.loss.objective}; type loss=l1_balance"
        )
    freeze(network, trains)
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
    """Compile training passes; replay them as CUDA graphs if a step is one pass of one process."""
    trainer = plain(cfg.trainer)
    one_pass = (
        cfg.loss.objective == "plain"
        and trainer["accumulate_grad_batches"] == 1
        and trainer["strategy"] == "auto"
        and trainer["num_nodes"] == 1
        and trainer["devices"] in (1, "1", [0])
    )
    cuda = torch.cuda.is_available() and trainer["accelerator"] != "cpu"
    if not cuda and (trainer["accelerator"] == "cpu" or not torch.accelerator.is_available()):
        _log.warning(
            "compile=true is meant for a GPU; on a CPU compiled training was measured 0.88 times "
            "as fast as without at paper size and 0.09 times at demo size; type compile=false"
        )
    replays = one_pass and cuda
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
                f"{option} is {value}, which does not work with the two optimisers of network and "
                "critic; leave that option out, or type loss=l1_balance to train without a critic"
            )


def build_data(
    cfg: DictConfig, stores: Mapping[Task, Path], test_split: Split = "test"
) -> MultiTaskDataModule:
    """Build the training stream and the evaluation slices of the tasks."""
    options = LoadingOptions(
        patch_size=cfg.data.patch_size,
        batch_size=cfg.data.batch_size,
        num_workers=cfg.data.num_workers,
        validation_slices=cfg.validation.slices,
        policy=cfg.sampling.policy,
        temperature=cfg.sampling.temperature,
        seed=cfg.seed,
        positives=cfg.loss.objective == "contrastive",
        brightness=plain(cfg.data).get("brightness"),  # run folders of earlier versions lack it
    )
    parts = [TaskDataModule(task, path, options, test_split) for task, path in stores.items()]
    return MultiTaskDataModule(parts, options)


def build_trainer(cfg: DictConfig, folder: Path, loggers: list[Logger]) -> pl.Trainer:
    """Build a trainer that validates every so many optimiser steps and keeps two checkpoints.

    Raises:
        InputError: A trainer option is not possible here.
    """
    options = plain(cfg.trainer)
    every, steps = min(cfg.validation.every, options["max_steps"]), options["max_steps"]
    if every < 1 or steps % every:
        raise InputError(
            f"trainer.max_steps is {steps} and validation.every is {cfg.validation.every}; the "
            f"last step is validated, so type for instance validation.every={max(steps // 4, 1)} "
            f"trainer.max_steps={max(steps // 4, 1) * 4}"
        )
    average = cfg.optimizer.get("average_decay")  # run folders of earlier versions lack it
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
        # Split gradients and optimiser states, but keep weights whole during a step: FSDP gathers
        # split weights in `forward` only, and the module calls other methods of the network, too.
        options["strategy"] = FSDPStrategy(
            sharding_strategy="SHARD_GRAD_OP", state_dict_type="full", cpu_offload=False
        )
    if cfg.get("profiler") is not None:
        options["profiler"] = _profiler(cfg.profiler, folder)
    callbacks = _callbacks(cfg.callbacks)
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
            # Lightning counts batches here; `every` counts optimiser steps.
            val_check_interval=every * options["accumulate_grad_batches"],
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            plugins=[WholeCheckpoints()],
            use_distributed_sampler=False,  # the data module distributes slices itself
            enable_model_summary=False,
            **options,
        )
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        first = str(error).splitlines()[0]
        advice = "type trainer=cpu" if "No supported gpu" in first else "change trainer.*"
        raise InputError(f"the trainer refuses its options: {first}; {advice}") from error


def _profiler(node: DictConfig, folder: Path) -> Profiler:
    """Build the profiler of a session; it writes into the run folder."""
    if not OmegaConf.is_dict(node):
        raise InputError(
            f"profiler is {node}, expected a class and its options; type profiler=simple"
        )
    return instantiate(plain(node), dirpath=folder)


def _callbacks(nodes: DictConfig) -> list[Callback]:
    for name, node in ((str(key), node) for key, node in nodes.items()):
        if node is not None and not OmegaConf.is_dict(node):
            raise InputError(
                f"callbacks.{name} is {node}, expected a class and its options; type "
                f"+callbacks.{name}._target_=<module>.<class>"
            )
    return [instantiate(plain(node)) for node in nodes.values() if node is not None]
