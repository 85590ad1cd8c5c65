"""Restoration tasks: units, ranges for scores and pictures, physics and phantoms of each.

A task is one YAML file in ``conf/tasks/``. Python code knows the names mri, ct and pet only to sort
them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from amir_lightning.config import CONF_DIR, plain
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig
    from torch import Tensor

Plane = Literal["axial", "coronal", "sagittal"]
Range = tuple[float, float]
Image = TypeVar("Image", "Tensor", "np.ndarray")

ARBITRARY_UNITS = "a.u."
"""Units of images whose scale differs from scanner to scanner, such as those of MRI."""


@dataclass(frozen=True, eq=False)
class Task:
    """One restoration task in physical units.

    Attributes:
        name: Key of the task, as typed in ``task=mri+ct+pet``.
        title: The paper's name, for tables and figures.
        units: Physical units of the images.
        value_range: Range that is clipped and mapped linearly to [0, 1] for the network.
        score_range: Range to which values are clipped before scoring.
        display_window: Values shown as black and white; [5, 0] is inverse grey, usual in PET.
        error_window: Absolute error that is shown as white.
        plane: Orientation in which volumes are cut into slices.
        dicom_modality: Modality of DICOM series of this task: MR, CT or PT.
        degradation: Hydra node of the physics that simulates LQ from HQ.
        phantom: Hydra node of the generator of embedded patients.
        phantom_slices: Number of slices kept of an embedded patient, evenly spread; None for all.
        plausible: Ranges ``low`` and ``high`` in which the 1st and the 99.9th percentile of a scan
            in `units` lie; None accepts any scan.
        measured: Whether a data set's own LQ is that of this task; otherwise LQ is simulated.
    """

    name: str
    title: str
    units: str
    value_range: Range
    score_range: Range
    display_window: Range
    error_window: float
    plane: Plane
    dicom_modality: str
    degradation: Mapping[str, Any]
    phantom: Mapping[str, Any]
    phantom_slices: int | None
    plausible: Mapping[str, Range] | None = None
    measured: bool = True

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> "Task":
        """Build a task from the mapping of its YAML file.

        Raises:
            InputError: The name has other characters than a file name should have, a key is missing
                or unknown, or a value is not possible.
        """
        if not re.fullmatch(r"\w[\w.-]*", name):
            # The name becomes part of file names, and may come with weights from elsewhere.
            raise InputError(
                f"a task is named '{name}', expected letters, digits, '_', '-' and '.'; rename it"
            )
        expected = [field for field in cls.__dataclass_fields__ if field != "name"]
        example = CONF_DIR / "tasks" / "mri.yaml"
        for key in [*expected, *config]:
            if key in ("plausible", "measured"):  # earlier run folders have no such keys
                continue
            if key not in config or key not in expected:
                state = "has no" if key in expected else "has an unknown"
                raise InputError(
                    f"task {name} {state} key '{key}'; a task has exactly {', '.join(expected)} "
                    f"(compare {example})"
                )
        for key in ("degradation", "phantom"):
            node = config[key]
            if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
                raise InputError(
                    f"task {name}: {key} is {node}, expected a class and its arguments; write "
                    f"_target_: <module>.<class> below {key}: (compare {example})"
                )
        planes = get_args(Plane)
        if config["plane"] not in planes:
            raise InputError(
                f"task {name}: plane is '{config['plane']}', expected one of {', '.join(planes)}; "
                f"write plane: {planes[0]} into its file, or type tasks.{name}.plane={planes[0]}"
            )
        return cls(
            name=name,
            title=str(config["title"]),
            units=str(config["units"]),
            value_range=_range(name, "value_range", config["value_range"]),
            score_range=_range(name, "score_range", config["score_range"]),
            display_window=_numbers(name, "display_window", config["display_window"]),
            error_window=_number(name, "error_window", config["error_window"]),
            plane=cast(Plane, config["plane"]),
            dicom_modality=str(config["dicom_modality"]),
            degradation=dict(config["degradation"]),
            phantom=dict(config["phantom"]),
            phantom_slices=config["phantom_slices"],
            plausible=_plausible(name, config.get("plausible")),
            measured=bool(config.get("measured", True)),
        )

    def normalise(self, image: Image) -> Image:
        """Clip physical values of any shape to `value_range` and map them to [0, 1]."""
        low, high = self.value_range
        return (image.clip(low, high) - low) / (high - low)

    def denormalise(self, image: Image) -> Image:
        """Map [0, 1] back to physical values; inverts `normalise` inside `value_range`."""
        low, high = self.value_range
        return image * (high - low) + low


def _plausible(
    task: str, config: Mapping[str, Iterable[float]] | None
) -> Mapping[str, Range] | None:
    if config is None:
        return None
    if set(config) != {"low", "high"}:
        raise InputError(f"task {task}: plausible has {list(config)}, expected low and high")
    return {key: _range(task, f"plausible.{key}", values) for key, values in config.items()}


def _range(task: str, key: str, values: Iterable[float]) -> Range:
    low, high = _numbers(task, key, values)
    if low > high:
        raise InputError(f"task {task}: {key} is [{low}, {high}], expected two increasing numbers")
    return low, high


def _numbers(task: str, key: str, values: Iterable[float]) -> Range:
    if not isinstance(values, Iterable):
        raise InputError(f"task {task}: {key} is {values}, expected two numbers; write [0, 1]")
    numbers = tuple(_number(task, key, value) for value in values)
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise InputError(
            f"task {task}: {key} is {list(numbers)}, expected two different numbers; write [0, 1]"
        )
    return numbers


def _number(task: str, key: str, value: float | str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:  # a YAML file may hold anything
        raise InputError(f"task {task}: {key} has {value}, expected a number; write 1.0") from error


def load_task(name: str) -> Task:
    """Read the YAML file of a task of this package.

    Raises:
        InputError: There is no such file.
    """
    from omegaconf import OmegaConf

    known = known_tasks()
    if name not in known:
        raise InputError(_unknown(name, known))
    # All of them, because a task may take values from another one: ${tasks.ct.units}.
    files = {one: OmegaConf.load(CONF_DIR / "tasks" / f"{one}.yaml") for one in known}
    return Task.from_config(name, plain(OmegaConf.create({"tasks": files}).tasks[name]))


def known_tasks() -> list[str]:
    """List the tasks of this package in canonical order."""
    names = sorted(path.stem for path in (CONF_DIR / "tasks").glob("*.yaml"))
    return sorted(names, key=canonical)


def active_tasks(cfg: "DictConfig") -> list[Task]:
    """Build the tasks that ``task=...`` names, in canonical order.

    Raises:
        InputError: ``task`` is empty, repeats a task or names one that is not known.
    """
    names = parse_tasks(cfg.task, cfg.tasks)
    return [Task.from_config(name, plain(cfg.tasks[name])) for name in names]


def parse_tasks(text: str, known: Iterable[str]) -> list[str]:
    """Split ``pet+mri`` into canonical order, ``["mri", "pet"]``.

    Raises:
        InputError: The text is empty, repeats a task or names one that is not known.
    """
    known = list(known)
    names = [name.strip() for name in str(text).split("+")]
    if not str(text).strip():
        raise InputError(f"task is empty; choose from {', '.join(known)} and join them with '+'")
    for name in names:
        if name not in known:
            raise InputError(_unknown(name, known))
    if len(set(names)) < len(names):
        raise InputError(
            f"task={text} names a task twice; type task={'+'.join(dict.fromkeys(names))}"
        )
    return sorted(names, key=canonical)


def canonical(name: str) -> tuple[int, str]:
    """Sort key of task names: mri, ct, pet, then the others."""
    paper = ["mri", "ct", "pet"]
    return (paper.index(name) if name in paper else len(paper), name)


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"unknown task '{name}'; choose from {', '.join(known)} and join them with '+'"
