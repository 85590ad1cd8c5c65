"""Options of a restoration, checked before a scan is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from amir_lightning.engines import choice as engines
from amir_lightning.errors import InputError
from amir_lightning.io.nifti.writer import DType
from amir_lightning.metrics import METRICS
from amir_lightning.restore.output import Format

Uncertainty = Literal["flips", "seeds"]


@dataclass(frozen=True)
class Request:
    """What a user asks of a restoration; ``conf/restore.yaml`` describes it.

    Attributes:
        task: Name of the task, or None.
        degrade: Simulate LQ from the input, and score the result.
        format: Output format.
        dtype: Type of NIfTI voxels.
        force_units: Accept any range of values.
        intensity_scale: Factor on the values that are read; written values are divided by it.
        batch_size: Slices per batch.
        tile: Rows and columns; None tiles only slices that are too large.
        tile_overlap: Overlap of neighbouring tiles, as a fraction of a tile.
        max_pixels: Largest slice that is restored whole.
        pictures: Number of slices of each scan that are drawn.
        metrics: Definition of the scores.
        seed: Seed of the simulated noise.
        trainer: Options of Lightning's trainer.
        degradations: Physics by task name; for other tasks the physics that the weights name.
        trusted: Modules whose physics the weights may name.
        engine: Engine that restores.
    """

    task: str | None
    degrade: bool
    format: Format
    dtype: DType
    force_units: bool
    intensity_scale: float
    batch_size: int
    tile: Sequence[int] | None
    tile_overlap: float
    max_pixels: int
    pictures: int
    metrics: str
    seed: int
    trainer: Mapping[str, Any]
    degradations: Mapping[str, Mapping[str, Any]]
    trusted: Sequence[str]
    engine: engines.Request

    def __post_init__(self) -> None:
        if self.format not in ("same", "nifti"):
            raise InputError(f"format is '{self.format}'; choose from same, nifti")
        if self.dtype not in ("float32", "source"):
            raise InputError(f"dtype is '{self.dtype}'; choose from float32, source")
        if self.metrics not in METRICS:
            raise InputError(f"metrics is '{self.metrics}'; choose from {', '.join(METRICS)}")
        if self.intensity_scale <= 0:
            raise InputError(
                f"intensity_scale is {self.intensity_scale}, expected more than 0; type "
                "intensity_scale=1"
            )
        if self.batch_size < 1:
            raise InputError(
                f"batch_size is {self.batch_size}, expected at least 1; type batch_size=1"
            )
