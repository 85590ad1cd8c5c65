"""Record of the data that a task was trained and tested on."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from amir_lightning.runs.identity import digest

Source = Literal["phantoms", "scans", "unknown"]


class TaskData(NamedTuple):
    """Data of one task of a run.

    Attributes:
        file: Prepared store, or cache of the phantoms.
        fingerprint: Hash of its content.
        source: Phantoms or scans; unknown for runs of an earlier version without this entry.
        drawn: Recipe of the phantoms: version, parameters and seed of the generator.
    """

    file: str
    fingerprint: str
    source: Source
    drawn: Mapping[str, Any] | None

    @property
    def key(self) -> str:
        """Key that tells data apart: for phantoms their recipe, because CPUs round differently."""
        return digest(self.drawn) if self.drawn else self.fingerprint

    def is_same(self, other: "TaskData") -> bool:
        """Return whether both have the same content, or are phantoms of the same recipe."""
        return self.fingerprint == other.fingerprint or self.key == other.key


def task_data(facts: Mapping[str, Any]) -> TaskData:
    """Read the data of one task from its entry in ``run.json``.

    Raises:
        KeyError: The entry is incomplete.
        TypeError: The entry has values of other types.
    """
    if not isinstance(facts["fingerprint"], str):
        raise TypeError("a fingerprint is text")
    source, drawn = facts.get("source"), facts.get("drawn")
    return TaskData(
        str(facts["file"]),
        facts["fingerprint"],
        source if source in ("phantoms", "scans") else "unknown",
        drawn if isinstance(drawn, dict) else None,
    )


def common_source(data: Iterable[TaskData]) -> Source:
    """Return "phantoms" if any data are phantoms, else "unknown" if any are, else "scans"."""
    found = {one.source for one in data}
    return "phantoms" if "phantoms" in found else "unknown" if "unknown" in found else "scans"
