"""Parameters of a degradation that are drawn for each patient, such as an unknown dose.

A parameter is a number, or a `Drawn` that gives each patient a number of its own. That number
depends on the name of the parameter and the seed of the patient alone.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

from amir_lightning.errors import InputError

T = TypeVar("T")


class Drawn(ABC):
    """A number that is drawn for each patient."""

    @property
    @abstractmethod
    def extremes(self) -> tuple[float, ...]:
        """Numbers that have to be possible for the others to be: the limits, or all of them."""

    @abstractmethod
    def at(self, chance: float) -> float:
        """The number for a chance in [0, 1)."""


@dataclass(frozen=True)
class Uniform(Drawn):
    """Any number between two limits with equal chance.

    Attributes:
        low: Lower limit.
        high: Upper limit.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_limits(self.low, self.high, self.low < self.high, "two increasing numbers")

    @property
    def extremes(self) -> tuple[float, ...]:
        """Both limits."""
        return self.low, self.high

    def at(self, chance: float) -> float:
        """The number at a fraction of the way from `low` to `high`."""
        return self.low + chance * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(Drawn):
    """Any number between two limits, where each ratio has the same chance: for doses and factors.

    Attributes:
        low: Lower limit, above 0.
        high: Upper limit.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        increasing = 0 < self.low < self.high
        _check_limits(self.low, self.high, increasing, "two increasing numbers above 0")

    @property
    def extremes(self) -> tuple[float, ...]:
        """Both limits."""
        return self.low, self.high

    def at(self, chance: float) -> float:
        """The number at a fraction of the way from `low` to `high`, in the logarithm."""
        return self.low * (self.high / self.low) ** chance


@dataclass(frozen=True)
class OneOf(Drawn):
    """One of some numbers with equal chance.

    Attributes:
        values: The numbers.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("values is empty, expected numbers to choose from; write [4, 8]")

    @property
    def extremes(self) -> tuple[float, ...]:
        """All of the numbers."""
        return tuple(self.values)

    def at(self, chance: float) -> float:
        """The number at a fraction of the way through the list."""
        return self.values[math.floor(chance * len(self.values))]


Parameter = float | Drawn


def possible(parameter: Parameter) -> tuple[float, ...]:
    """Numbers by which a parameter is checked: the number itself, or the extremes of a draw.

    Raises:
        InputError: One of them is no finite number.
    """
    found = parameter.extremes if isinstance(parameter, Drawn) else (parameter,)
    for one in found:  # typed by a user: in place of a draw, the command cannot check the type
        if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
            raise InputError(
                f"a parameter of the degradation is {one!r}, expected a finite number; type for "
                "instance tasks.<task>.degradation.<parameter>=0.25"
            )
    return found


def value_of(parameter: Parameter, name: str, seed: int) -> float:
    """The number of a parameter for one patient.

    Args:
        parameter: The parameter.
        name: Its name; parameters of other names are independent.
        seed: Seed of the patient.
    """
    if not isinstance(parameter, Drawn):
        return parameter
    digest = hashlib.sha256(f"{name}:{seed}".encode()).digest()
    return parameter.at(int.from_bytes(digest[:6], "big") / 2**48)


def drawn_for(degradation: object, seed: int) -> dict[str, float]:
    """The drawn parameters of a degradation for one patient, by name.

    Args:
        degradation: Any degradation; one that is no dataclass draws nothing.
        seed: Seed of the patient.
    """
    if not is_dataclass(degradation):
        return {}
    parameters = {field.name: getattr(degradation, field.name) for field in fields(degradation)}
    return {
        name: value_of(parameter, name, seed)
        for name, parameter in parameters.items()
        if isinstance(parameter, Drawn)
    }


def fixed_for(degradation: T, seed: int) -> T:
    """The degradation with the drawn parameters of one patient as plain numbers.

    It lets a long scan be degraded in parts, each with noise of its own seed.
    """
    found = drawn_for(degradation, seed)
    return replace(degradation, **found) if found else degradation  # type: ignore[type-var]


def _check_limits(low: float, high: float, correct: bool, expected: str) -> None:
    if not correct:
        raise InputError(
            f"the limits of a drawn parameter are low={low} and high={high}, expected {expected}; "
            "type for instance tasks.<task>.degradation.<parameter>.low=0.05"
        )
