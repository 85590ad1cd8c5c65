"""Versions of packages, as records and files name them; a leaf that every layer may import."""

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str:
    """Version of a package, "not installed" where a checkout runs without `pip install`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
