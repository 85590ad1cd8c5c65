"""Rules of ``conf/claims.yaml``: what a claim compares, and from which number on it counts."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from amir_lightning.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: Its key in the file.
        paper: What the paper says.
        experiment: Experiment whose runs decide.
        margin: An advantage counts if it is above this number.
    """

    name: str
    paper: str
    experiment: str
    margin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scores(Claim):
    """Each of `ahead` beats each of `behind`, by the test scores of the patients.

    Attributes:
        ahead: Networks, or networks on tasks, as in "amir on mri+ct".
        behind: The same of their rivals.
        tasks: Names of tasks, or "average".
        scores: Names of scores.
    """

    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Patients(Claim):
    """A number of each patient is above another, in a file that draw has written for a run.

    Attributes:
        network: Network whose runs are read.
        figure: Name of the file.
        value: Column of the number.
        above: Column of the number that it has to be above; None stands for zero.
        tasks: Names of tasks.
    """

    network: str
    figure: str
    value: str
    above: str | None = None
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interference(Claim):
    """The mean interference between tasks is lower in one network than in another.

    Attributes:
        ahead: Network with the higher value; None stands for zero.
        behind: Network with the lower value.
        blocks: Blocks of the networks, as draw names them.
        definition: Definition of the metric.
    """

    ahead: str | None = None
    behind: str
    blocks: tuple[str, ...]
    definition: str


_RULES: Mapping[str, type[Claim]] = {
    "scores": Scores,
    "patients": Patients,
    "interference": Interference,
}


def read_claims(nodes: Mapping[str, Mapping[str, Any]]) -> list[Claim]:
    """Read the claims of ``conf/claims.yaml``.

    Raises:
        InputError: A claim has no rule, or lacks a key of its rule, or has another key.
    """
    return [_read(str(name), node) for name, node in nodes.items()]


def _read(name: str, node: Mapping[str, Any]) -> Claim:
    rule = str(node.get("rule"))
    if rule not in _RULES:
        raise InputError(
            f"claims.{name}.rule is {rule!r}; choose from {', '.join(_RULES)} in conf/claims.yaml"
        )
    kind = _RULES[rule]
    known = {one.name: one for one in fields(kind) if one.name != "name"}
    given = {str(key): value for key, value in node.items() if key != "rule"}
    needed = [key for key, one in known.items() if one.default is MISSING and not given.get(key)]
    unknown = [key for key in given if key not in known]
    if needed or unknown:
        found = f"lacks {', '.join(needed)}" if needed else f"has the key {', '.join(unknown)}"
        raise InputError(
            f"claims.{name} {found}; a claim of rule {rule} has the keys {', '.join(known)}, in "
            "conf/claims.yaml"
        )
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    return kind(name=name, **{**given, **lists})
