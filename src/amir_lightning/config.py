"""Location of `conf/`, and its nodes as plain types; needs neither torch nor Hydra."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]
# An installed wheel has copies. They are looked for first: a folder `conf/` two levels above an
# installed package can be anybody's.
_INSTALLED = (_PACKAGE / "conf").is_dir()

CONF_DIR = (_PACKAGE if _INSTALLED else _CHECKOUT) / "conf"
"""The package's `conf/`."""

PAPER_DIR = _PACKAGE / "paper" if _INSTALLED else _CHECKOUT / "experiments"
"""Where the paper's numbers lie: ``<experiment>/paper.csv``."""


def plain(node: DictConfig) -> dict[str, Any]:
    """A resolved configuration node as plain types."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, throw_on_missing=True))


def leaves(node: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested plain mappings by dotted key; an empty mapping is a value, too."""
    if not isinstance(node, Mapping) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
