"""Compose the configuration of a command, and check the types of the values that were typed."""

from functools import lru_cache

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import typed
from amir_lightning.cli.searchpath import SearchPath, typed_folders
from amir_lightning.config import leaves
from amir_lightning.errors import InputError

_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def compose(config_name: str, overrides: list[str], keep_hydra: bool = False) -> DictConfig:
    """Compose the configuration of another command, inside a running command.

    Args:
        config_name: Name of the root file in ``conf/``, such as "train".
        overrides: Options as a user would type them after that command.
        keep_hydra: Whether to keep the node ``hydra``.
    """
    cfg = SearchPath.running().compose(config_name, overrides)
    typed.keep_text(cfg)
    if not keep_hydra:
        cfg.pop("hydra", None)
    return cfg


def check_types(cfg: DictConfig, config_name: str) -> None:
    """Check the type of every value; the defaults in the YAML files are the schema.

    Raises:
        InputError: A value has another type than its default.
    """
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task
    if not overrides:
        return
    path = SearchPath.running()
    keys = {text: text.lstrip("+~").split("=")[0].split("@")[0] for text in overrides}
    choices = tuple(text for text in overrides if path.has_group(keys[text]))  # network=restormer
    # Files of a user may change between the commands of a notebook, those of the package do not.
    composed = _defaults.__wrapped__ if typed_folders() else _defaults
    reference = composed(config_name, choices)
    defaults = dict(leaves(OmegaConf.to_container(reference, resolve=False)))
    for key, value in leaves(OmegaConf.to_container(cfg, resolve=False)):
        default = defaults.get(key)
        if isinstance(default, str) and "${" in default and value != default:
            # It has the type of what it refers to.
            default = typed.resolved(OmegaConf.select(reference, key))
        if value == "" and default in (None, "???"):
            raise InputError(f"{key} is empty; type {key}=<value>, or leave that option out")
        if value is None and typed.may_be_null(config_name, key):
            continue
        if default in (None, "???") or _agrees(value, default) or typed.has_length(key, value):
            continue
        shown = "null" if value is None else value
        example = typed.resolved(OmegaConf.select(reference, key))
        raise InputError(
            f"{key} is {shown!r}, expected {_expected(default)}; type for instance "
            f"{key}={str(example).replace(' ', '')}"
        )


@lru_cache(maxsize=64)  # jobs of a sweep often choose the same files
def _defaults(config_name: str, choices: tuple[str, ...]) -> DictConfig:
    """Compose the values that options have unless they are typed; they are read only."""
    return compose(config_name, list(choices))


def _expected(default: object) -> str:
    if isinstance(default, list):
        names = default and not isinstance(default[0], int | float)
        return "a list of at least one" if names else f"a list of {len(default)}"
    return _KINDS.get(type(default), f"a {type(default).__name__}")


def _agrees(value: object, default: object) -> bool:
    if isinstance(value, str) and "${" in value:
        return True
    if isinstance(default, str):
        return value == default or (value not in (None, "") and not isinstance(value, list | dict))
    if isinstance(default, list):
        if not isinstance(value, list):
            return False
        # Names or pairs: any number of them.
        if default and not isinstance(default[0], int | float):
            return bool(value) and all(_agrees(one, default[0]) for one in value)
        return len(value) == len(default) and all(map(_agrees, value, default))
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
