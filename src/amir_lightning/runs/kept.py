"""Copies of finished runs without weights and pictures: small text files that can be committed.

A kept run is a run folder like any other. Tables and claims read it as they read the run itself.
"""

import csv
import io
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from omegaconf import OmegaConf

from amir_lightning.runs.figures import FIGURES, figure_file
from amir_lightning.runs.folder import RunFolder
from amir_lightning.system.atomic import complete_file
from amir_lightning.system.wording import counted

_log = logging.getLogger(__name__)

_CURVE_POINTS = 100  # rows of metrics.csv beside those of validation and test
_OF_A_MACHINE = ("platform", "wandb_id")
_ADVICE = "type paths.kept_dir=<folder>"


def keep(runs: Iterable[RunFolder], kept_dir: Path) -> None:
    """Copy finished runs into a folder, and say how many copies have changed.

    Args:
        runs: Run folders; those that have not finished are left out.
        kept_dir: Folder of the copies. Runs that lie there already are left alone.
    """
    kept = changed = 0
    for run in runs:
        if not run.finished:
            continue
        kept += 1
        if run.path.parent.resolve() != kept_dir.resolve():
            copied = [_write(kept_dir / run.name / name, text) for name, text in _files(run)]
            changed += any(copied)
    _log.info("%s kept in %s, %d new or changed", counted("run", kept), kept_dir, changed)


def _files(run: RunFolder) -> Iterable[tuple[Path, str]]:
    """Yield the small files of a run, without the names of its machine.

    The file that makes it a finished run comes last, so that a copy that was interrupted is none.
    """
    config = {key: value for key, value in run.settings.items() if key not in ("paths", "logger")}
    yield Path("config.yaml"), OmegaConf.to_yaml(OmegaConf.create(config))
    record = _without_machine(run.record)
    assert isinstance(record, dict)
    for facts in record.get("data", {}).values():
        facts["file"] = PurePath(str(facts["file"])).name
    yield Path("run.json"), json.dumps(record, indent=2) + "\n"
    for split in ("test", "val"):
        for name in ("patients.csv", "clinical.csv", "clinical_tasks.csv"):
            scores = run.evaluation(split) / name
            if scores.exists():
                yield scores.relative_to(run.path), scores.read_text()
    if (run.path / "metrics.csv").exists():
        yield Path("metrics.csv"), _thinned(run.logged())
    for name in FIGURES:
        path = figure_file(run, name)
        if path.exists():
            yield path.relative_to(run.path), path.read_text()
    yield Path("result.json"), run.result_file.read_text()


def _without_machine(node: object) -> object:
    if isinstance(node, dict):
        return {k: _without_machine(one) for k, one in node.items() if k not in _OF_A_MACHINE}
    return [_without_machine(one) for one in node] if isinstance(node, list) else node


def _thinned(rows: Sequence[dict[str, str]]) -> str:
    """Write all validations, and evenly chosen rows of the training, to six digits."""
    heads = [key for key in (rows[0] if rows else []) if key]  # a torn row has cells without one
    tested = [key for key in heads if key.startswith(("val/", "test/"))]
    scored = [any(row[key] for key in tested) for row in rows]
    others = [index for index, one in enumerate(scored) if not one]
    step = max(1, -(-len(others) // _CURVE_POINTS))
    chosen = {index for index, one in enumerate(scored) if one} | set(others[step - 1 :: step])
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    for index in sorted(chosen):
        writer.writerow({key: _short(rows[index][key]) for key in heads})
    return text.getvalue()


def _short(text: str | None) -> str:
    text = text or ""
    try:
        return text if text.isdigit() else f"{float(text):.6g}"
    except ValueError:  # empty, or no number
        return text


def _write(path: Path, text: str) -> bool:
    """Write a file; return whether it has changed."""
    if path.exists() and path.read_text() == text:
        return False
    with complete_file(path, _ADVICE) as partial:
        partial.write_text(text)
    return True
