"""What a run says of the data that a task was trained and tested on."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from amir_lightning.runs.identity import digest

Source = Literal["phantoms", "scans", "unknown"]


class TaskData(NamedTuple):
    """The data that a run was trained and tested on, of one task.

    Attributes:
        file: The prepared store, or the cache of the phantoms.
        fingerprint: Hash of its content.
        source: Embedded phantoms or scans; unknown of a run that is older than the entry.
        drawn: What drew the phantoms: version, parameters and seed of the generator.
    """

    file: str
    fingerprint: str
    source: Source
    drawn: Mapping[str, Any] | None

    @property
    def key(self) -> str:
        """What tells data apart: the recipe of phantoms, which another CPU rounds otherwise."""
        return digest(self.drawn) if self.drawn else self.fingerprint

    def is_same(self, other: "TaskData") -> bool:
        """Whether both have one content, or are phantoms of one recipe."""
        return self.fingerprint == other.fingerprint or self.key == other.key


def task_data(facts: Mapping[str, Any]) -> TaskData:
    """Read what ``run.json`` says of one task.

    Raises:
        KeyError: It does not say it.
        TypeError: It says something else.
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
    """Source of several tasks' data: phantoms if those of any are, unknown if any is unknown."""
    found = {one.source for one in data}
    return "phantoms" if "phantoms" in found else "unknown" if "unknown" in found else "scans"
