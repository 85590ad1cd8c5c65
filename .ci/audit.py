"""Known vulnerabilities of the tested packages, from a copy of the advisories; needs no network.

git clone https://github.com/pypa/advisory-database
make audit ADVISORIES=advisory-database
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def main() -> int:
    """Exit status: 0 without a hit, 1 with one, 2 without advisories."""
    if len(sys.argv) != 3 or not (vulns := Path(sys.argv[1]) / "vulns").is_dir():
        print("error: type make audit ADVISORIES=<clone of github.com/pypa/advisory-database>")
        return 2
    pins = list(_pins(Path(sys.argv[2])))
    newest, known, hits = "", 0, 0
    for path in sorted(vulns.glob("*/*.yaml")):
        advisory = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        newest = max(newest, str(advisory["modified"]))
        for name, version in pins:
            for entry in advisory.get("affected", []):
                if canonicalize_name(entry["package"]["name"]) != name:
                    continue
                known += 1
                if "withdrawn" not in advisory and _affects(entry, version):
                    hits += 1
                    aliases = ", ".join(advisory.get("aliases", []))
                    print(f"{name} {version}: {advisory['id']} ({aliases})")
    print(f"{len(pins)} packages, {known} advisories about them, {hits} that hold for the version")
    print(f"the newest advisory is of {newest[:10]}; later ones are unknown to this copy")
    return int(hits > 0)


def _pins(path: Path) -> Iterator[tuple[str, Version]]:
    for line in path.read_text().splitlines():
        if text := line.split("#")[0].strip():
            pin = Requirement(text)
            yield canonicalize_name(pin.name), Version(next(iter(pin.specifier)).version)


def _affects(entry: dict[str, Any], version: Version) -> bool:
    """Whether a version is listed, or lies in a range of the open-source vulnerability format."""
    if str(version) in entry.get("versions", []):
        return True
    for one in entry.get("ranges", []):
        if one["type"] != "ECOSYSTEM":
            continue
        inside = False
        for event in one["events"]:  # in order of their versions
            ((kind, text),) = event.items()
            at = Version("0") if text == "0" else Version(text)
            if kind == "introduced" and version >= at:
                inside = True
            elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
                inside = False
        if inside:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
