"""`make audit ADVISORIES=...`: which pinned versions an advisory holds for."""

import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
ADVISORY = """
id: PYSEC-2026-1
aliases: [CVE-2026-1]
modified: "2026-01-02T03:04:05Z"
affected:
- package: {name: Some_Package, ecosystem: PyPI}
  ranges:
  - type: ECOSYSTEM
    events: [{introduced: "1.1"}, {fixed: "1.10"}, {introduced: "2.0"}, {last_affected: "2.1"}]
  versions: ["0.5"]
"""


@pytest.mark.parametrize(
    ("version", "hit"),
    [("0.5", True), ("1.0", False), ("1.9", True), ("1.10", False), ("2.1", True), ("2.2", False)],
)
def test_an_advisory_holds_for_its_versions_alone(tmp_path: Path, version: str, hit: bool) -> None:
    folder = tmp_path / "vulns" / "some-package"
    folder.mkdir(parents=True)
    (folder / "PYSEC-2026-1.yaml").write_text(ADVISORY)
    pins = tmp_path / "pins.txt"
    pins.write_text(f"# exact\nsome-package=={version}\nother==3\n")
    command = [sys.executable, str(AUDIT), str(tmp_path), str(pins)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == int(hit)
    assert (f"some-package {version}: PYSEC-2026-1 (CVE-2026-1)" in done.stdout) is hit
    assert "the newest advisory is of 2026-01-02" in done.stdout


def test_without_advisories_it_says_where_they_are() -> None:
    command = [sys.executable, str(AUDIT), "nowhere", "constraints.txt"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "github.com/pypa/advisory-database" in done.stdout
