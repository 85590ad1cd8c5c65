"""Checks of constructor arguments, so that a wrong option is one sentence and not a shape error."""

from collections.abc import Sequence
from math import gcd

from amir_lightning.errors import InputError


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        InputError: The value is another one.
    """
    if value not in choices:
        options = " or ".join(f"{name}={choice}" for choice in choices)
        raise InputError(f"{name} is {value!r}; type {options}")


def at_least(minimum: float, **values: float) -> None:
    """Refuse a number below the minimum.

    Raises:
        InputError: A value is lower or no number.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
            raise InputError(
                f"{name} is {value!r}, expected a number of at least {minimum}; "
                f"type for example {name}={minimum}"
            )


def whole(minimum: int, **values: int) -> None:
    """Refuse what is not a whole number from the minimum on.

    Raises:
        InputError: A value is lower or not a whole number.
    """
    for name, value in values.items():
        if not _is_whole(value, minimum):
            raise InputError(
                f"{name} is {value!r}, expected a whole number of at least {minimum}; "
                f"type for example {name}={max(minimum, 1)}"
            )


def whole_numbers(name: str, values: Sequence[int], length: int) -> tuple[int, ...]:
    """Take a list or tuple of so many whole numbers from 1 on as a tuple.

    Raises:
        InputError: The length is another, or an entry is lower or not a whole number.
    """
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not listed or len(values) != length or not all(_is_whole(value, 1) for value in values):
        found = list(values) if listed else repr(values)
        raise InputError(
            f"{name} is {found}, expected {length} whole numbers of at least 1; "
            f"type for example {name}=[{','.join(['1'] * length)}]"
        )
    return tuple(values)


def odd_numbers(name: str, values: Sequence[int], length: int) -> tuple[int, ...]:
    """Take so many odd numbers, such as sides of kernels that have a centre, as a tuple.

    Raises:
        InputError: The length is another, or an entry is even or not a whole number.
    """
    numbers = whole_numbers(name, values, length)
    if not all(number % 2 for number in numbers):
        odd = [number + 1 - number % 2 for number in numbers]
        raise InputError(
            f"{name} is {list(numbers) if length > 1 else numbers[0]}, expected odd numbers; type "
            f"{name}={str(odd).replace(' ', '') if length > 1 else odd[0]}"
        )
    return numbers


def divides(name: str, value: int, *channels: int, of: str) -> None:
    """Refuse a number, such as one of attention heads, that does not divide all the channels.

    Raises:
        InputError: A number of channels is no multiple of the value.
    """
    for number in channels:
        if number % value:
            common = gcd(*channels)
            fitting = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
            raise InputError(
                f"{value} {name} do not divide the {number} channels of {of}; "
                f"type one of {fitting} as {name}"
            )


def _is_whole(value: object, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
