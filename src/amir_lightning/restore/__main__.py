"""``python -m amir_lightning.restore weights=last input=scans output=restored``: restored scans."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command
from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted


@command("restore")
def main(cfg: DictConfig) -> None:
    """Restore every NIfTI file and DICOM series of the input with trained weights."""
    from amir_lightning.system.allocator import ask_for_huge_pages

    ask_for_huge_pages()
    from amir_lightning.config import plain
    from amir_lightning.engines import choice as engines
    from amir_lightning.engines.cache import cache_folder
    from amir_lightning.io.dicom.series import Damaged
    from amir_lightning.io.dicom.series import summarise as summarise_skipped
    from amir_lightning.io.scan import find_scans
    from amir_lightning.metrics import summarise
    from amir_lightning.restore.pipeline import restore_all
    from amir_lightning.restore.request import Request
    from amir_lightning.restore.spread import spread_over
    from amir_lightning.runs.scores import print_scores, write_scores
    from amir_lightning.weights.folder import choose_task
    from amir_lightning.weights.source import load_weights

    runs_dir, trusted = Path(cfg.paths.runs_dir), list(cfg.trusted)
    weights = load_weights(str(cfg.weights), runs_dir, trusted)
    if cfg.task is not None:
        choose_task(weights.tasks, cfg.task)  # once, and not for every scan
    spread = None
    if cfg.uncertainty is not None:
        spread = spread_over(cfg.uncertainty, weights, str(cfg.weights), runs_dir, trusted)
    source, output = Path(cfg.input), Path(cfg.output)
    request = Request(
        task=cfg.task,
        degrade=cfg.degrade,
        format=cfg.format,
        dtype=cfg.dtype,
        force_units=cfg.force_units,
        intensity_scale=cfg.intensity_scale,
        batch_size=cfg.batch_size,
        tile=None if cfg.tile is None else list(cfg.tile),
        tile_overlap=cfg.tile_overlap,
        max_pixels=cfg.max_pixels,
        pictures=cfg.pictures,
        metrics=cfg.metrics or weights.metrics,
        seed=cfg.seed,
        trainer=plain(cfg.trainer),
        degradations={
            name: plain(node.degradation)
            for name, node in cfg.tasks.items()
            if OmegaConf.is_dict(node.get("degradation"))
        },
        trusted=trusted,
        engine=engines.Request(
            cfg.engine,
            cfg.engine_precision,
            list(cfg.engine_float32),
            cache_folder(cfg.paths.cache_dir),
        ),
    )
    scans, skipped = find_scans(source)
    unread = [one.problem for one in skipped if isinstance(one, Damaged)]
    for problem in unread:
        print(f"failed:   {problem}")
    if others := [one for one in skipped if not isinstance(one, Damaged)]:
        print(f"skipped:  {summarise_skipped(others)}")
    root = source if source.is_dir() else source.parent
    rows, failed = restore_all(scans, root, weights, output, request, spread)
    if rows:
        summary = summarise(rows)
        write_scores(output / "scores", rows, summary)
        tasks = [task for name, task in weights.tasks.items() if name in summary.tasks]
        title = f"{weights.origin}: simulated LQ restored, {request.metrics} definition"
        print_scores(summary, tasks, title)
    elif cfg.degrade:
        print("scores:   none, because every slice is air or constant")
    print(f"written:  {output}")
    problems = [f"{len(failed)} of {counted('scan', len(scans))} failed"] if failed else []
    problems += [f"{counted('file', len(unread))} could not be read"] if unread else []
    if problems:
        raise InputError(f"{' and '.join(problems)}, see above; the others are done")


if __name__ == "__main__":
    main()
