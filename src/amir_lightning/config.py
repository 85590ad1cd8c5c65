"""Where `conf/` lives; a leaf that every layer may import (no torch, no Hydra)."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]

CONF_DIR = _CHECKOUT / "conf" if (_CHECKOUT / "conf" / "train.yaml").exists() else _PACKAGE / "conf"
"""The checkout's `conf/`, or the copy inside an installed wheel."""
