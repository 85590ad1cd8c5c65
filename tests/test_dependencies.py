"""What is installed beside this package: bounded, with a reason, and nothing that nobody needs."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from amir_lightning.system.versions import version_of

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
    if not text.startswith(PROJECT["name"])
]
PINS = {
    canonicalize_name(name): version
    for name, version in (
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
}


def needed_by(requirement: Requirement, found: set[str]) -> None:
    """Add a package and all that it needs here."""
    name = canonicalize_name(requirement.name)
    found.add(name)
    try:
        texts = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for one in map(Requirement, texts):
        extras = requirement.extras or {""}
        wanted = one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)
        if wanted and (canonicalize_name(one.name) not in found or one.extras):
            one.extras = one.extras - {""}
            needed_by(one, found)


def test_each_direct_dependency_is_bounded_with_a_reason_and_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for one in DIRECT:
        assert str(one.specifier), one
        (version,) = [pin for name, pin in PINS.items() if name == canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} and the pin {version}"
    for line in re.search(r"dependencies = \[.*?\n\n\[tool", text, re.DOTALL)[0].splitlines():
        if re.search(r'"[a-z0-9-]+(\[.*\])?[<>=]', line) and "pytest>" not in line:
            assert "# " in line, f"no reason: {line}"


def test_nothing_is_pinned_that_nothing_needs() -> None:
    found: set[str] = set()
    absent = [one.name for one in DIRECT if version_of(one.name) == "not installed"]
    if absent:
        pytest.skip(f"what {', '.join(absent)} needs is unknown here; make setup installs it")
    for one in DIRECT:
        needed_by(one, found)
    assert not PINS.keys() - found


def test_a_checkout_without_installation_has_no_version() -> None:
    assert version_of("torch").startswith("2.")
    assert version_of("amir-lightning-elsewhere") == "not installed"
