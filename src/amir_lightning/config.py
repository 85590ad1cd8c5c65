"""Where `conf/` lives; a leaf that every layer may import (no torch, no Hydra)."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

# An installed wheel has a copy. It is asked for first: a folder `conf/` two levels above an
# installed package can be anybody's.
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"
"""The package's `conf/`: inside an installed wheel, or in the checkout."""
