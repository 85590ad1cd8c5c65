"""``python -m amir_lightning.evaluate run=last split=test``: scores of a run for each slice."""

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command
from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted

_log = logging.getLogger("amir_lightning.evaluate")  # __name__ is "__main__", which is quiet


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Score a checkpoint on a split, and write slices.csv, patients.csv and tasks.csv.

    With ``clinical=true`` it measures lesions, organs, noise and sharpness, too.
    """
    import lightning.pytorch as pl

    from amir_lightning.callbacks import Progress
    from amir_lightning.config import plain
    from amir_lightning.engines.cache import cache_folder
    from amir_lightning.engines.choice import Request, use_engine
    from amir_lightning.metrics import summarise
    from amir_lightning.runs.by_parameter import print_split, split_scores, values_of, write_split
    from amir_lightning.runs.clinical_files import print_clinical, write_clinical
    from amir_lightning.runs.data import locate_data, same_data, set_physics
    from amir_lightning.runs.folder import find_run
    from amir_lightning.runs.scores import print_scores, write_scores
    from amir_lightning.tasks import active_tasks
    from amir_lightning.train.build import build_data, build_module
    from amir_lightning.weights.checkpoint import load_checkpoint

    if cfg.split not in ("train", "val", "test"):
        raise InputError(f"split is '{cfg.split}'; choose from test, val, train")
    if cfg.masks is not None and not cfg.clinical:
        raise InputError(
            "masks are for clinical measures; type clinical=true, too, or leave masks out"
        )
    files = find_run(str(cfg.run), Path(cfg.paths.runs_dir), "checkpoints/best.ckpt")
    run = files.config(cfg.trusted)
    run.paths = cfg.paths
    run.metrics = cfg.metrics or run.metrics
    run.data.source = cfg.source or run.data.source
    physics = set_physics(run, cfg)
    tasks = active_tasks(run)
    module = build_module(run, tasks)
    checkpoint = files.checkpoint(cfg.checkpoint)
    step = load_checkpoint(module, checkpoint)
    stores = locate_data(run, tasks, "source")
    if cfg.source is None:
        same_data(stores, files)
    values = None if cfg.by is None else values_of(stores, str(cfg.by), physics)
    data = build_data(run, stores, test_split=cfg.split)
    chosen = use_engine(
        module.network.eval(),
        Request(
            cfg.engine,
            cfg.engine_precision,
            list(cfg.engine_float32),
            cache_folder(cfg.paths.cache_dir),
        ),
        plain(cfg.trainer),
    )
    watching: list[pl.Callback] = [Progress()]
    if cfg.clinical:
        from amir_lightning.clinical.scoring import open_scoring, options_of
        from amir_lightning.clinical.whole_patients import WholePatients, restorer

        scoring = open_scoring(run, cfg, stores)
        watching.append(WholePatients(scoring))
    _log.info("scoring the %s slices with %s (step %d)", cfg.split, checkpoint, step)
    trainer = pl.Trainer(
        logger=False,
        callbacks=watching,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=files.path,
        **plain(cfg.trainer),
    )
    if cfg.clinical and trainer.world_size > 1:
        raise InputError(
            f"clinical=true measures whole patients in one process, and there are "
            f"{trainer.world_size}; type trainer.devices=1"
        )
    trainer.test(module, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return
    if cfg.clinical:  # before anything is written: a mask may have a mistake
        found = scoring.finish(restorer(module.network.eval(), trainer.strategy.root_device))
    summary = summarise(module.rows, bootstrap=cfg.bootstrap, seed=run.seed)
    parts = [cfg.split]
    parts += [] if cfg.checkpoint == "best" else [checkpoint.stem]
    parts += [] if cfg.metrics is None else [run.metrics]
    parts += [] if cfg.source is None else [cfg.source]
    parts += physics
    parts += [] if cfg.trainer.precision == "32-true" else [str(cfg.trainer.precision)]
    engine = chosen.label
    parts += [] if engine.name == "torch" else [engine.name]
    parts += [] if cfg.engine_precision == "float32" else [engine.precision, *cfg.engine_float32]
    output = files.evaluation(*parts)
    write_scores(output, module.rows, summary)
    used = {
        **{key: node for key, node in cfg.items() if key not in ("tasks", "measures")},
        "physics": physics,
        "engine": engine.name,
        "engine_version": engine.version,
        "engine_precision": engine.precision,
    }
    OmegaConf.save(OmegaConf.create(used), output / "evaluate.yaml", resolve=True)
    print_scores(
        summary,
        tasks,
        f"{files.name}\n"
        f"{cfg.split} scores, {run.metrics} definition, {checkpoint.stem} checkpoint (step {step})"
        f"\n{engine}",
    )
    for name, group in summary.tasks.items():
        if "psnr" in group.intervals:
            low, high = group.intervals["psnr"]
            patients = counted("patient", len(group.patients))
            print(f"{name}: PSNR {low:.2f} to {high:.2f} dB (95 %, {patients})")
    written = ["slices.csv", "patients.csv", "tasks.csv"]
    if values is not None:
        groups = split_scores(module.rows, values, cfg.by_groups, cfg.bootstrap, run.seed)
        print_split(groups, tasks, cfg.by)
        written.append(write_split(output, groups, cfg.by).name)
    if cfg.clinical:
        written += write_clinical(output, found, options_of(cfg))
        print_clinical(found.overall, tasks)
    print(f"{'scores':>10}  {output}/{', '.join(written)}")


if __name__ == "__main__":
    main()
