"""Location of `conf/` and of shipped weights, and nodes as plain types; needs no torch or Hydra."""

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

SHIPPED_DIR = _PACKAGE / "weights" / "shipped"
"""Weights that come with this package: one folder, as ``export`` writes it, for each name."""


def shipped_names() -> list[str]:
    """List the names of the weights that come with this package."""
    return sorted(path.parent.name for path in SHIPPED_DIR.glob("*/config.json"))


def shipped_weights(name: str, *own: Path) -> Path | None:
    """Find the folder of the weights that come with this package under a name.

    Args:
        name: The name.
        own: Paths of the user's own weights or run of that name, besides the name as a path. If one
            of them exists, the result is None.
    """
    kept = ("model.safetensors", "config.json", "run.json")
    for path in (Path(name), *own):
        if path.is_file() or any((path / file).exists() for file in kept):
            return None
    return SHIPPED_DIR / name if name in shipped_names() else None


def shipped_in_words() -> str:
    """Name the weights that come with this package, as the end of a sentence."""
    names = ", ".join(shipped_names())
    return f"the name of shipped weights ({names or 'this version ships none'})"


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
