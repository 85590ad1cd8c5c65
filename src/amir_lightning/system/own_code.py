"""Hashes of a user's own classes: of their modules and of the user's modules that these import."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}  # run.json records versions of packages


def own_code(node: object) -> dict[str, str]:
    """Hash the code behind every ``_target_``, at any depth, that lies in a user's own module.

    Nothing is imported. Modules count by name and content, so a moved folder has the same hash.

    Args:
        node: Plain mappings and lists.
    """
    found: dict[str, str] = {}
    for target in _targets(node):
        modules: dict[str, bytes] = {}
        _read(target, modules)
        if modules:
            content = hashlib.sha256()
            for name, code in sorted(modules.items()):
                content.update(f"{name} {len(code)} ".encode() + code)
            found[target] = content.hexdigest()
    return found


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)


def _read(dotted: str, modules: dict[str, bytes]) -> None:
    """Collect the user's modules on the path of a dotted name, and those that they import."""
    parts = dotted.split(".")
    if parts[0] == "amir_lightning" or parts[0] in sys.stdlib_module_names:
        return
    spec = _top(parts[0])
    for length in range(1, len(parts) + 1):
        if spec is None:
            return
        name, file = ".".join(parts[:length]), Path(spec.origin or "")
        places = spec.submodule_search_locations
        if _INSTALLED & {*file.parts}:
            return
        if spec.has_location and file.is_file() and name not in modules:
            modules[name] = file.read_bytes()
            for imported in _imported(modules[name], name, is_package=places is not None):
                _read(imported, modules)
        if places is None or length == len(parts):
            return
        spec = PathFinder.find_spec(".".join(parts[: length + 1]), [*places])


def _top(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None  # reported where the object is built


def _imported(code: bytes, name: str, is_package: bool) -> Iterator[str]:
    """Yield the dotted names that a module imports: modules, or names defined in modules."""
    try:
        nodes = [*ast.walk(ast.parse(code))]
    except (SyntaxError, ValueError):
        return  # not Python, or reported where the object is built
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")
            base = above[: len(above) - node.level + is_package] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names)
