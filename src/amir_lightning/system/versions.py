"""Versions of packages and of this code, for records and files."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def version_of(package: str) -> str:
    """Return the version of a package; "not installed" for a checkout that is only on the path."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit_of_checkout() -> str | None:
    """Return the git commit of the checkout that this code runs from; None if it is installed.

    Local changes are marked with "+changes". An installed package has no commit: if a
    repository happens to contain its environment, that is another project.
    """
    package = Path(__file__).resolve().parents[1]
    try:
        checkout = Path(_git(package, "rev-parse", "--show-toplevel"))
        if package != checkout.resolve() / "src" / package.name:
            return None
        _git(package, "ls-files", "--error-unmatch", "__init__.py")  # fails where it is untracked
        commit = _git(package, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(checkout, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
