"""``python -m amir_lightning.prepare task=mri raw_dir=IXI-T2``: raw scans to one prepared file."""

from pathlib import Path

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Read the scans of one task, simulate LQ, cut, split and write them."""
    from hydra.utils import instantiate

    from amir_lightning.assemble import active_tasks, plain
    from amir_lightning.preparation import prepare

    tasks = active_tasks(cfg)
    if len(tasks) > 1:
        raise InputError(f"task={cfg.task} names {len(tasks)} tasks; prepare one at a time")
    (task,) = tasks
    prepare(
        task,
        instantiate(dict(task.degradation)),
        Path(cfg.raw_dir),
        Path(cfg.output or Path(cfg.paths.prepared_dir) / f"{task.name}.h5"),
        split=plain(cfg.split),
        split_file=cfg.split_file and Path(cfg.split_file),
        gap=cfg.gap,
        central_slices=cfg.central_slices,
        compression=cfg.compression,
        seed=cfg.seed,
    )


if __name__ == "__main__":
    main()
