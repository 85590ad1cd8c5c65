"""The loop over scans: stage, simulate if asked, restore, score, write, show."""

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from hydra.utils import instantiate
from torch.utils.data import DataLoader

from amir_lightning.callbacks import Progress
from amir_lightning.data.pairs import patient_seed
from amir_lightning.data.plausible import check_units
from amir_lightning.degradation import drawn_for, fixed_for
from amir_lightning.engines.choice import Engine, use_engine
from amir_lightning.errors import InputError
from amir_lightning.io.scan import Scan
from amir_lightning.pictures import save
from amir_lightning.restore.dataset import SliceRestorer, Slices
from amir_lightning.restore.output import (
    Scaled,
    beside,
    check_scan,
    remove,
    target_of,
    unit_of,
    write_scan,
)
from amir_lightning.restore.report import score_slices, show_slices, value_range
from amir_lightning.restore.request import Request
from amir_lightning.restore.scratch import ScratchVolume, degrade, stage
from amir_lightning.restore.spread import Spread, announce
from amir_lightning.restore.task_choice import pick_task, why
from amir_lightning.restore.tiling import Tiling, choose_tiling, tile_error
from amir_lightning.runs.record import environment, write_json
from amir_lightning.system.atomic import complete_folder
from amir_lightning.system.trust import refuse_foreign_classes
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task
from amir_lightning.weights.source import Weights

log = logging.getLogger(__name__)

_SAMPLE = 24  # slices from which the range of a scan is estimated


def restore_all(
    scans: Sequence[Scan],
    root: Path,
    weights: Weights,
    output: Path,
    request: Request,
    spread: Spread | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Restore scans one by one into a folder that appears only when all are written.

    A scan that fails does not stop the others.

    Args:
        scans: The scans.
        root: Folder of the input; the output keeps the paths below it.
        weights: The network and its tasks.
        output: New or empty folder.
        request: Options of the command.
        spread: Other ways to restore, whose spread is written as well.

    Returns:
        Rows of scores (only with ``degrade``), and one sentence for each scan that failed.

    Raises:
        InputError: The output folder holds something, or every scan failed.
    """
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    with complete_folder(output) as work:
        every = [weights, *(spread.weights if spread else ())]
        engines = [use_engine(one.network, request.engine, request.trainer) for one in every]
        record = {
            "weights": weights.origin,
            "weights_fingerprint": weights.fingerprint,
            "degrade": request.degrade,
            "scans": [],
            **environment(),
        }
        for number, scan in enumerate(scans, 1):
            target = target_of(scan, root, work, request.format)
            try:
                done, scores = _restore(
                    scan, number, target, work, weights, request, engines, spread
                )
            except InputError as error:
                remove(target)
                failed.append(_naming(scan, str(error)))
                if len(scans) > 1:
                    log.error("failed: %s", failed[-1])
                continue
            record["scans"].append(done)
            rows += scores
            log.info("%s", _summary(done, output / target.relative_to(work)))
        if len(failed) == len(scans):
            more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            raise InputError(f"{failed[0]}{more}")
        write_json(work / "restore.json", record)
    return rows, failed


def _naming(scan: Scan, sentence: str) -> str:
    """Put the path of the scan before an error message that does not name it."""
    named = any(str(path) in sentence for path in (scan.path, *scan.files))
    return sentence if named else f"{scan.path}: {sentence}"


def _restore(
    scan: Scan,
    number: int,
    target: Path,
    work: Path,
    weights: Weights,
    request: Request,
    engines: Sequence[Engine],
    spread: Spread | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    started = time.perf_counter()
    task = pick_task(scan, weights.tasks, request.task)
    check_scan(scan, request.format)
    log.info("%s: task %s (%s)", scan.path, task.name, why(scan, request.task))
    with tempfile.TemporaryDirectory(dir=work, prefix=".scratch-") as folder:
        given = ScratchVolume(Path(folder) / "given", scan.shape)
        stage(scan, given, request.intensity_scale)
        slices = Slices(given, task)
        shown = np.unique(np.linspace(0, len(slices) - 1, _SAMPLE).round().astype(int))
        sample = np.stack([given[slices.where(int(index))] for index in shown])
        if not request.force_units:
            check_units(sample, task, str(scan.path))
        lq, drawn = given, {}
        if request.degrade:
            lq = ScratchVolume(Path(folder) / "lq", scan.shape)
            node = request.degradations.get(task.name)
            if node is None:  # a task that is not in conf/
                refuse_foreign_classes(task.degradation, weights.origin, request.trusted)
            # Parameters are drawn for the scan, and noise for each block of its slices.
            own_seed = patient_seed(request.seed, target.relative_to(work).as_posix())
            physics = instantiate(dict(node or task.degradation))
            drawn = drawn_for(physics, own_seed)
            physics = fixed_for(physics, own_seed)
            degrade(given, lq, task, physics, scan.spacing_mm, request.seed)
            slices = Slices(lq, task)
        restored = ScratchVolume(Path(folder) / "restored", scan.shape)
        height, width = slices[0].lq.shape[-2:]
        tiling = choose_tiling(
            request.tile, request.tile_overlap, request.max_pixels, height, width
        )
        images = len(slices) * (tiling.count(height, width) if tiling else 1)
        label = announce(engines, images, tiling.size if tiling else (height, width), spread)
        log.info("%s is restored by %s", scan.path, label)
        if tiling:
            _say_tile_error(tiling, weights, slices, task, request.max_pixels)
        uncertain = ScratchVolume(Path(folder) / "uncertain", scan.shape) if spread else None
        restorer = SliceRestorer(weights.network, task, slices, restored, tiling, spread, uncertain)
        _predict(restorer, request)
        scores = []
        if request.degrade:
            scores = score_slices(given, lq, restored, task, f"scan{number}", request.metrics)
        low, high = value_range(restored, slices)
        name = type(weights.network).__name__
        derivation = (
            f"{task.title} by {name} (amir_lightning, weights {weights.fingerprint}, {label}); "
            "for research only"
        )
        undo = 1 / request.intensity_scale
        out = Scaled(restored, undo)
        write_scan(scan, out, target, request.dtype, f"{name} restored", derivation)
        if request.degrade:
            simulation = f"Low-quality scan of task {task.name}, simulated by amir_lightning"
            out = Scaled(lq, undo)
            beside_it = beside(target, "lq")
            write_scan(scan, out, beside_it, request.dtype, "simulated LQ", simulation)
        spreading: dict[str, object] = {}
        if spread and uncertain:
            unit = unit_of(scan, task, target)
            measure = f"Standard deviation over {spread.over} [{unit}]"
            out, beside_it = Scaled(uncertain, undo), beside(target, "uncertainty")
            write_scan(scan, out, beside_it, "float32", "", f"{measure} of: {derivation}", measure)
            spreading = {
                "output": str(beside_it.relative_to(work)),
                "over": spread.over,
                "units": unit,
            }
            if spread.weights:
                spreading["weights"] = [one.origin for one in (weights, *spread.weights)]
        if request.pictures:
            simulated = lq if request.degrade else None
            picture = show_slices(given, simulated, restored, task, request.pictures)
            save(picture, work / "pictures" / f"scan{number}.png")
    return {
        "source": scan.source,
        "output": str(target.relative_to(work)),
        "task": task.name,
        "engine": label._asdict(),
        "shape": scan.shape,
        "slices": len(slices),
        "units": task.units,
        "input_range": [float(sample.min()), float(sample.max())],
        "restored_range": [low, high],
        "tiles": list(tiling.size) if tiling else None,
        **({"drawn": drawn} if drawn else {}),
        **({"uncertainty": spreading} if spreading else {}),
        "seconds": round(time.perf_counter() - started, 2),
    }, scores


def _predict(restorer: SliceRestorer, request: Request) -> None:
    options = dict(request.trainer)
    if options["devices"] != 1 and options["strategy"] == "auto":
        options["strategy"] = "ddp_spawn"  # ddp would start the whole command once per process
    trainer = pl.Trainer(
        logger=False,
        callbacks=[Progress()],
        enable_checkpointing=False,
        enable_model_summary=False,
        **options,
    )
    loader: DataLoader[Any] = DataLoader(restorer.slices, batch_size=request.batch_size)
    try:
        trainer.predict(restorer, loader, return_predictions=False)
    except torch.cuda.OutOfMemoryError as error:
        raise InputError(
            "a slice does not fit into the memory of the GPU; type tile=[256,256] or batch_size=1"
        ) from error


def _say_tile_error(
    tiling: Tiling, weights: Weights, slices: Slices, task: Task, max_pixels: int
) -> None:
    middle = task.normalise(slices[len(slices) // 2].lq[None])
    low, high = task.value_range
    with weights.network.as_written():  # no engine compiles the whole slice for this
        error = tile_error(tiling, weights.network, middle, max_pixels) * (high - low)
    log.warning(
        "slices are restored in tiles of %dx%d: on the middle slice that changes the result by "
        "%.3g %s (mean absolute difference from the whole)",
        *tiling.size,
        error,
        task.units,
    )


def _summary(done: Mapping[str, Any], target: Path) -> str:
    low, high = done["restored_range"]
    return (
        f"{target}: {counted('slice', done['slices'])}, {low:.4g} to {high:.4g} {done['units']}, "
        f"{done['seconds']:.1f} s"
    )
