"""Which classes a file from elsewhere may name: building an object runs its code."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

from amir_lightning.errors import InputError


def refuse_foreign_classes(node: object, where: object, trusted: Sequence[str]) -> None:
    """Look at every ``_target_`` of a configuration before anything of it is built.

    A name has to lie in a trusted module and to be a class that was defined there: a module's own
    imports are reachable below its name, too, and so are functions that write files. Nothing is
    imported for a name outside.

    Args:
        node: Plain mappings and lists, at any depth.
        where: The file that they came from.
        trusted: Modules.

    Raises:
        InputError: It names something else, or has an interpolation, which could become anything.
    """
    for key, value in _entries(node):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{where} has the interpolation {value} in {key}; expected plain values as this "
                "package writes them: take an unchanged file"
            )
        if key == "_target_" and not _is_trusted_class(value, trusted):
            listed = ",".join([*trusted, str(value).rpartition(".")[0] or "<module>"])
            raise InputError(
                f"{where} names the class {value}, whose code would run; if it is a class and you "
                f"trust it type trusted=[{listed}]"
            )


def _entries(node: object) -> Iterator[tuple[object, object]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield "a list", value
            yield from _entries(value)


def _is_trusted_class(target: object, trusted: Sequence[str]) -> bool:
    if not isinstance(target, str) or not _below(target, trusted):
        return False
    from hydra.utils import get_object

    try:
        found = get_object(target)
    except Exception:  # no such name, or a module that cannot be imported
        return False
    return inspect.isclass(found) and _below(f"{found.__module__}.{found.__name__}", trusted)


def _below(name: str, modules: Sequence[str]) -> bool:
    return name.startswith(tuple(f"{module}." for module in modules))
