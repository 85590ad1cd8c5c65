"""Versions of packages and of this code, as records and files name them; a leaf of all layers."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def version_of(package: str) -> str:
    """Version of a package, "not installed" where a checkout runs without `pip install`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit_of_checkout() -> str | None:
    """Commit of the checkout that this code runs from, marked if it has local changes.

    None for an installed package: its version says what it is, and a repository that its
    environment happens to lie in is somebody else's.
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
