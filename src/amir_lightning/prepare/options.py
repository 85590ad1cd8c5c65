"""Options of the ``prepare`` command."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from amir_lightning.data.store_writer import Compression
from amir_lightning.errors import InputError

OnError = Literal["stop", "skip"]
Backend = Literal["loky", "threading", "dask"]


@dataclass(frozen=True)
class Options:
    """Options of ``prepare``; ``conf/prepare.yaml`` describes them.

    Attributes:
        split: Share of train, val and test, as fractions or numbers of patients.
        split_file: CSV with the columns ``patient,split``, used instead of ``split``.
        test_patients: Keys of patients that always go to the test split.
        optional_test_patients: Ignore test patients that were not found instead of raising.
        proportions: Treat numbers in ``split`` that do not match the patients as proportions.
        gap: Slices left out between two blocks, where slices and not patients are split.
        grid: Rows and columns to which slices are cropped or padded; None keeps their size.
        central_slices: Number of slices to keep around the middle; None keeps all.
        intensity_scale: Factor on every voxel value.
        force_units: Accept scans whose value range does not look like the task's units.
        on_error: "stop" at a bad patient, or "skip" it.
        compression: None or "lzf".
        seed: Seed of the split and of the simulated noise.
        salt: Secret mixed into the hash of a patient's key, so that the key cannot be guessed.
        jobs: Number of patients processed in parallel; -1 for one per core.
        backend: joblib backend.
        scheduler: Address of the Dask scheduler, for ``backend="dask"``.
    """

    split: Mapping[str, float]
    split_file: Path | None = None
    test_patients: tuple[str, ...] = ()
    optional_test_patients: bool = False
    proportions: bool = False
    gap: int = 2
    grid: tuple[int, int] | None = None
    central_slices: int | None = None
    intensity_scale: float = 1.0
    force_units: bool = False
    on_error: OnError = "stop"
    compression: Compression | None = None
    seed: int = 0
    salt: str = ""
    jobs: int = 1
    backend: Backend = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.gap < 0:
            raise InputError(
                f"gap is {self.gap}, expected a number of slices from 0 on; type gap=2"
            )
        if self.central_slices is not None and not _is_positive_integer(self.central_slices):
            raise InputError(
                f"central_slices is {self.central_slices}, expected a number of slices; "
                "type for instance central_slices=100"
            )
        if self.grid is not None and not (
            len(self.grid) == 2 and all(map(_is_positive_integer, self.grid))
        ):
            raise InputError(
                f"grid is {self.grid}, expected rows and columns; type for instance grid=[256,256]"
            )
        if self.compression not in (None, *get_args(Compression)):
            raise InputError(f"compression is '{self.compression}'; choose null or lzf")
        if self.on_error not in get_args(OnError):
            raise InputError(f"on_error is '{self.on_error}'; choose from stop, skip")
        if self.backend not in get_args(Backend):
            raise InputError(f"backend is '{self.backend}'; choose from loky, threading, dask")
        if self.backend == "dask" and not self.scheduler:
            raise InputError(
                "backend=dask needs the cluster's address; type scheduler=tcp://<host>:8786"
            )
        if self.jobs == 0:
            raise InputError(
                "jobs is 0, expected a number of processes; type jobs=-1 for all cores"
            )
        if self.intensity_scale <= 0:
            raise InputError(
                f"intensity_scale is {self.intensity_scale}, expected a factor above 0; type "
                "intensity_scale=1"
            )


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
