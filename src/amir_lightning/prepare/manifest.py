"""Manifest of a prepared store: hashes of the source files and counts, nothing personal."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from amir_lightning.data.splits import Split, SplitKind
from amir_lightning.data.store import Store
from amir_lightning.data.store_writer import patient_id
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.prepare.inspection import Inspection
from amir_lightning.prepare.options import Options
from amir_lightning.system.atomic import complete_file
from amir_lightning.tasks import Task


def manifest_path(store: Path) -> Path:
    """Path of a store's manifest: ``mri.manifest.json`` next to ``mri.h5``."""
    return store.with_suffix(".manifest.json")


def write_manifest(
    store: Path,
    task: Task,
    inspections: Sequence[Inspection],
    skipped: Sequence[Skipped],
    kind: SplitKind,
    assigned: Mapping[str, Split],
    options: Options,
) -> None:
    """Write the options of the preparation and, per hashed patient, the SHA-256 of every file."""
    opened = Store(store, task.name)
    content = {
        "task": task.name,
        "fingerprint": opened.fingerprint,
        "versions": opened.versions,
        "split_kind": kind,
        "degradation": {**task.degradation, "seed": options.seed},
        "options": {
            "grid": options.grid,
            "central_slices": options.central_slices,
            "intensity_scale": options.intensity_scale,
            "force_units": options.force_units,
            "seed": options.seed,
            "salted": bool(options.salt),
        },
        "patients": {
            patient_id(one.key, options.salt): {
                "split": assigned.get(one.key, "slice blocks"),
                "slices": one.slices,
                "shape": one.shape,
                "spacing_mm": one.spacing_mm,
                "sources": sorted(one.sources),
            }
            for one in sorted(inspections, key=lambda one: patient_id(one.key, options.salt))
        },
        "left_out": dict(Counter(one.reason for one in skipped)),
    }
    with complete_file(manifest_path(store)) as partial:
        partial.write_text(json.dumps(content, indent=1, default=str) + "\n")
