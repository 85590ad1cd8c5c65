"""``python -m amir_lightning.prepare task=mri raw_dir=IXI-T2``: training data from raw scans."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.data.layouts import RawDataset
    from amir_lightning.prepare.options import Options
    from amir_lightning.tasks import Task

# Named by hand: __name__ is "__main__" here, outside the package's logger.
_log = logging.getLogger("amir_lightning.prepare")


@command("prepare")
def main(cfg: DictConfig) -> None:
    """Prepare the raw scans of one task: simulate missing LQ, cut slices, split patients."""
    from hydra.utils import instantiate

    from amir_lightning.data.layouts import LAYOUTS, detect
    from amir_lightning.prepare.pipeline import prepare
    from amir_lightning.tasks import active_tasks

    tasks = active_tasks(cfg)
    if len(tasks) > 1:
        raise InputError(f"task={cfg.task} names {len(tasks)} tasks; prepare one at a time")
    (task,) = tasks
    raw_dir = Path(cfg.raw_dir)
    if raw_dir.name in ("", ".."):  # layouts are recognised by the folder's name, too
        raw_dir = raw_dir.resolve()
    dataset = cfg.dataset
    if dataset == "auto":
        named = cfg.layout_options  # an option that only one layout has selects that layout
        paired = named.hq is not None and named.lq is not None
        dataset = "table" if named.table else "pairs" if paired else detect(raw_dir, task)
        _log.info("%s is read as dataset=%s: %s", raw_dir, dataset, cfg.datasets[dataset].about)
    if dataset not in LAYOUTS:
        raise InputError(f"dataset is '{dataset}'; choose from auto, {', '.join(LAYOUTS)}")
    prepare(
        task,
        instantiate(dict(task.degradation)),
        # Absolute: worker processes may have a different working directory.
        _find(cfg, dataset, raw_dir.absolute(), task),
        Path(cfg.output or Path(cfg.paths.prepared_dir) / f"{task.name}.h5"),
        _options(cfg, dataset),
        hq_from=None if cfg.hq_from is None else Path(cfg.hq_from),
        check=cfg.check,
    )


def _find(cfg: DictConfig, dataset: str, raw_dir: Path, task: Task) -> RawDataset:
    import inspect

    from amir_lightning.data.layouts import LAYOUTS

    layout = LAYOUTS[dataset]
    given = {key: value for key, value in cfg.layout_options.items() if value is not None}
    known = list(inspect.signature(layout).parameters)[2:]
    for key in given:
        if key not in known:
            raise InputError(
                f"dataset={dataset} has no option layout_options.{key} (it has "
                f"{', '.join(known) or 'none'}); leave it out, or type dataset=<one that has it>"
            )
    return layout(raw_dir, task, **given)


def _options(cfg: DictConfig, dataset: str) -> Options:
    """Collect the user's options; null ones take the default of the data set."""
    from amir_lightning.config import plain
    from amir_lightning.prepare.options import Options

    usual = plain(cfg.datasets[dataset])
    chosen = {name: size for name, size in plain(cfg.split).items() if size is not None}
    grid: list[int] | None = usual["grid"] if cfg.grid is None else list(cfg.grid)
    central = usual["central_slices"] if cfg.central_slices is None else cfg.central_slices
    if cfg.test_patients is not None and not OmegaConf.is_list(cfg.test_patients):
        raise InputError("test_patients is no list; type test_patients=[<patient>,<patient>]")
    tested = usual["test_patients"] if cfg.test_patients is None else plain(cfg.test_patients)
    return Options(
        split=chosen or usual["split"],
        proportions=not chosen and cfg.test_patients is None,
        split_file=cfg.split_file and Path(cfg.split_file),
        test_patients=tuple(map(str, tested)),
        optional_test_patients=cfg.test_patients is None,
        gap=cfg.gap,
        grid=cast("tuple[int, int]", tuple(grid)) if grid else None,
        central_slices=central or None,
        intensity_scale=cfg.intensity_scale,
        force_units=cfg.force_units,
        on_error=cfg.on_error,
        compression=cfg.compression,
        seed=cfg.seed,
        salt=cfg.salt or "",
        jobs=cfg.jobs,
        backend=cfg.backend,
        scheduler=cfg.scheduler,
    )


if __name__ == "__main__":
    main()
