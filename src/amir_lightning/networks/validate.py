"""Checks of constructor arguments: a wrong option ends in one sentence, not in a shape error."""

from collections.abc import Sequence
from math import gcd

from amir_lightning.errors import InputError


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Check that a value is among the choices.

    Raises:
        InputError: The value is not among the choices.
    """
    if value not in choices:
        options = " or ".join(f"{name}={choice}" for choice in choices)
        raise InputError(f"{name} is {value!r}; type {options}")


def at_least(minimum: float, **values: float) -> None:
    """Check that values are numbers, none below the minimum.

    Raises:
        InputError: A value is lower or not a number.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
            raise InputError(
                f"{name} is {value!r}, expected a number of at least {minimum}; "
                f"type for example {name}={minimum}"
            )


def drop_probability(**values: float) -> None:
    """Check that values are numbers from 0 to below 1.

    Raises:
        InputError: A value is lower, higher or not a number.
    """
    at_least(0, **values)
    for name, value in values.items():
        if value >= 1:
            raise InputError(
                f"{name} is {value}, expected a number below 1; type for example {name}=0.1"
            )


def whole(minimum: int, **values: int) -> None:
    """Check that values are whole numbers, none below the minimum.

    Raises:
        InputError: A value is lower or not a whole number.
    """
    for name, value in values.items():
        if not _is_whole(value, minimum):
            raise InputError(
                f"{name} is {value!r}, expected a whole number of at least {minimum}; "
                f"type for example {name}={max(minimum, 1)}"
            )


def multiple_of(factor: int, **values: int) -> None:
    """Check that whole numbers are multiples of a factor.

    Raises:
        InputError: A value is not a multiple of the factor.
    """
    for name, value in values.items():
        if value % factor:
            expected = "an even number" if factor == 2 else f"a multiple of {factor}"
            raise InputError(
                f"{name} is {value}, expected {expected}; type {name}={value + -value % factor}"
            )


def whole_numbers(name: str, values: Sequence[int], length: int) -> tuple[int, ...]:
    """Return a sequence of whole numbers from 1 on as a tuple.

    Args:
        name: Name of the option.
        values: List or tuple of numbers.
        length: Expected length.

    Raises:
        InputError: The length differs, or an entry is lower or not a whole number.
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
    """Return a sequence of odd numbers, such as kernel sizes that have a centre, as a tuple.

    Args:
        name: Name of the option.
        values: List or tuple of numbers.
        length: Expected length.

    Raises:
        InputError: The length differs, or an entry is even or not a whole number from 1 on.
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
    """Check that a number, such as the attention heads, divides each number of channels.

    Args:
        name: Name of the option.
        value: Its value.
        channels: Numbers of channels.
        of: Part of the network that has these channels, for the error.

    Raises:
        InputError: A number of channels is not a multiple of the value.
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
