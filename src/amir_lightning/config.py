"""Location of `conf/`, and its nodes as plain types; needs neither torch nor Hydra."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]
# A wheel contains copies of both folders. They come first, because a folder `conf/` two levels
# above an installed package may belong to another program.
INSTALLED = (_PACKAGE / "conf").is_dir()
"""Whether this package runs from a wheel, not from a checkout."""

CONF_DIR = (_PACKAGE if INSTALLED else _CHECKOUT) / "conf"
"""Folder `conf/` of this package."""

PAPER_DIR = _PACKAGE / "paper" if INSTALLED else _CHECKOUT / "experiments"
"""Folder with the paper's numbers, ``<experiment>/paper.csv``."""


def plain(node: "DictConfig") -> dict[str, Any]:
    """Resolve a configuration node into plain dictionaries and lists."""
    from omegaconf import OmegaConf  # deferred: loading weights needs no omegaconf

    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, throw_on_missing=True))


def leaves(node: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with dotted keys; an empty mapping is a value, too."""
    if not isinstance(node, Mapping) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
