"""Check of the classes that a file from elsewhere names, because building them runs code."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

from amir_lightning.errors import InputError


def refuse_foreign_classes(node: object, where: object, trusted: Sequence[str]) -> None:
    """Check every ``_target_`` of a configuration before anything of it is built.

    A name must be a class that a trusted module defines. Names that a trusted module only imports
    are refused, because they may be other modules or functions that write files. Names outside the
    trusted modules are not imported.

    Args:
        node: Plain mappings and lists, at any depth.
        where: File that the configuration comes from.
        trusted: Names of trusted modules.

    Raises:
        InputError: A name is not trusted, or an interpolation could become any name.
    """
    for key, value in _entries(node):
        if isinstance(value, str) and "${" in value:
            raise InputError(
                f"{where} has the interpolation {value} in {key}; expected plain values as this "
                "package writes them: use an unchanged copy of the file"
            )
        if key == "_target_":
            trusted_class(value, where, trusted)


def _entries(node: object) -> Iterator[tuple[object, object]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield "a list", value
            yield from _entries(value)


def trusted_class(target: object, where: object, trusted: Sequence[str]) -> type:
    """Import a class whose name comes from elsewhere.

    Args:
        target: Dotted name, such as ``amir_lightning.networks.AMIR``.
        where: File that the name comes from.
        trusted: Names of trusted modules.

    Raises:
        InputError: The name lies outside the trusted modules, is not a class that they define, or
            cannot be imported.
    """
    names = f"{where} names the class {target}"
    if not isinstance(target, str) or not _below(target, trusted):
        module = str(target).rpartition(".")[0] or "<module>"
        raise InputError(
            f"{names}, whose code would run; if you trust it type {_also(trusted, module)}"
        )
    from hydra.utils import get_object

    try:
        found = get_object(target)
    except Exception as error:  # the name does not exist, or its module raises on import
        file = target.partition(".")[0]
        raise InputError(
            f"{names}, which cannot be imported ({error.__cause__ or error}); start the command in "
            f"the folder that holds {file}.py, or install {file}"
        ) from error
    if not inspect.isclass(found):
        raise InputError(f"{names}, which is not a class; use an unchanged copy of the file")
    if not _below(f"{found.__module__}.{found.__name__}", trusted):
        raise InputError(
            f"{names}, which {found.__module__} defines; if you trust it type "
            f"{_also(trusted, found.__module__)}"
        )
    return found


def _also(trusted: Sequence[str], module: str) -> str:
    return f"trusted=[{','.join([*trusted, module])}]"


def _below(name: str, modules: Sequence[str]) -> bool:
    return name.startswith(tuple(f"{module}." for module in modules))
