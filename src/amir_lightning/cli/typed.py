"""Quoting of paths and free texts, before Hydra's grammar reads them.

Hydra reads ``raw_dir=2024_03_05`` as the number 20240305 and refuses ``input=a=b``. In options that
take a path or a free text every character is meant literally, so these values are quoted for Hydra
where needed.
"""

import fnmatch
import io
import os
import re
import shlex
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amir_lightning.config import CONF_DIR, leaves

PATHS = (
    "input",
    "output",
    "raw_dir",
    "weights",
    "run",
    "checkpoint",
    "released",
    "split_file",
    "hq_from",
    "layout_options.table",
    "network.pretrained",
    "paper_dir",
    "experiments_dir",
    "masks",
    "rates_dir",
    "scans",
    "runs",
    "paths.*",
)
TEXTS = (
    "salt",
    "scheduler",
    "patient",
    "layout_options.hq",
    "layout_options.lq",
    "layout_options.kernel",
    "layout_options.sequence",
    "layout_options.acquisition",
    "layout_options.suffix",
    "layout_options.session",
    "layout_options.entity",
    "logger.project",
    "logger.entity",
    "titles.*",
    "tasks.*.title",
    "tasks.*.units",
    "datasets.*.about",
    "claims.*.paper",
    "measures.inserts.*.organ",
)
NULLABLE = ("tasks.*.phantom_slices", "network.test_window")  # though no file of ours has null
LISTS = ("runs", "layers", "test_patients", "datasets.*.test_patients")
CHOICES = ("tasks.*.degradation.*.values", "measures.inserts.*.contrasts", "engine_float32")
"""Lists of numbers that one is drawn from, and of names: they may have any length."""

CASES = ("inference", "training", "released_inference", "released_training")
"""Lists of what `bench` measures: they may be empty."""

_SWEEP_FLAGS = ("-m", "--multirun")
_GRAMMAR = "()[]{}'\"\\"  # a sweep with one of these is passed to Hydra unchanged


def as_typed(arguments: list[str], config_name: str, sweep: bool = False) -> list[str]:
    """Quote the paths and free texts of a command line, so that Hydra reads them literally.

    A value that is quoted for Hydra already keeps its meaning, unless a file has that literal name.
    ``null`` keeps its meaning if the option is null by default. ``${other.option}`` still resolves.

    Args:
        arguments: The command line without the program's name.
        config_name: Name of the root file in ``conf/``.
        sweep: Whether commas separate the values of a sweep, as they do with ``-m``.
    """
    sweep = sweep or any(flag in arguments for flag in _SWEEP_FLAGS)
    return [_argument(text, config_name, sweep) for text in arguments]


def quoted(text: str) -> str:
    """Put a text into single quotes of Hydra's grammar."""
    # Backslashes have a meaning only before a quote and at the end.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{trailing * chr(92)}'"


def explain(error: Exception) -> str | None:
    """Name the characters that Hydra or OmegaConf cannot read, and the quotes to type."""
    from hydra.errors import OverrideParseException

    if isinstance(error, OverrideParseException):
        return _refused(error.override)
    first = str(error).partition("\n")[0]
    if "interpolation" not in first.lower():
        return None
    return f"{first.rstrip('.')}; a ${{ that is part of a name is typed '<option>=\\${{...'"


def print_any_name() -> None:
    """Print file names that are not valid text with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def keep_text(cfg: DictConfig) -> None:
    """Turn the values of paths and free texts that YAML has read as numbers into text."""
    for name, value in leaves(OmegaConf.to_container(cfg, resolve=False)):
        if isinstance(value, bool):  # YAML's word for a switch
            continue
        if _is_one_of(name, (*PATHS, *TEXTS)) and isinstance(value, int | float):
            OmegaConf.update(cfg, name, str(value))


def _argument(argument: str, config_name: str, sweep: bool) -> str:
    name, equals, text = argument.partition("=")
    key = name.lstrip("+")
    if not equals or not text.strip():
        return argument
    is_path, nullable = _is_one_of(key, PATHS) and not _is_switch(config_name, key), False
    if _is_one_of(key, LISTS):
        return f"{name}={_list(text, is_path)}"
    if not is_path and not _is_one_of(key, TEXTS):
        return argument
    if "null" in text.lower():
        nullable = may_be_null(config_name, key)
    return f"{name}={(_sweep if sweep else _one)(text, is_path, nullable)}"


def _refused(argument: str) -> str:
    name, equals, text = argument.partition("=")
    if not equals or not re.fullmatch(r"[+~]{0,2}[\w.@/:$-]+", name, re.ASCII):
        return f"'{argument}' is no option; options are written name=value, and --help lists them"
    is_list = _is_one_of(name.lstrip("+"), LISTS) or text[:1] + text[-1:] == "[]"
    items = text.removeprefix("[").removesuffix("]").split(",")
    value = f"[{','.join(map(quoted, items))}]" if is_list else quoted(text)
    wanted = f"{name}={value}"
    plain = not any(character in wanted for character in '"$`\\!')
    shell = f'"{wanted}"' if plain else shlex.quote(wanted)
    return (
        f"{argument} has characters that mean something to Hydra; to have them read as they are, "
        f"type {shell}"
    )


def _one(text: str, is_path: bool, nullable: bool) -> str:
    if nullable and text.lower() == "null":
        return text
    if is_path and text.startswith("~/"):
        text = str(Path(text).expanduser())
    read = _read(text)
    exists = is_path and os.path.lexists(text)
    if "${" in text and (exists or "}" not in text):  # a file name, not a reference
        return quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", text))
    if read == text or (isinstance(read, str) and read.strip() != text.strip() and not exists):
        return text  # needs no quotes, or has them already
    return quoted(text)


def _sweep(text: str, is_path: bool, nullable: bool) -> str:
    if choice := re.fullmatch(r"choice\((.*)\)", text):
        return f"choice({_sweep(choice[1], is_path, nullable)})"
    if any(character in text for character in _GRAMMAR):
        return text
    return ",".join(_one(item.strip(), is_path, nullable) for item in text.split(","))


def _list(text: str, is_path: bool) -> str:
    inside = text[1:-1]
    if text[0] + text[-1] != "[]" or any(character in inside for character in _GRAMMAR):
        return text
    items = [item.strip() for item in inside.split(",")]
    return "[" + ",".join(_one(item, is_path, False) if item else item for item in items) + "]"


def _read(text: str) -> Any:
    """Parse a value as Hydra does; None if Hydra refuses it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"x={text}").value()
    except HydraException:
        return None


def may_be_null(config_name: str, key: str) -> bool:
    """Whether null has a meaning for an option: a file has it, or it is among `NULLABLE`."""
    if _is_one_of(key, NULLABLE):
        return True
    own = _load(config_name)
    group, _, below = key.partition(".")
    places = [(own, key), *((_load(file), key) for file in own["defaults"] if file == "train")]
    for path in (CONF_DIR / group).glob("*.yaml"):
        places.append((_load(f"{group}/{path.stem}"), below))
    return any((name, None) in leaves(content) for content, name in places)


@cache  # null is checked for each option that has no value
def _load(name: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{name}.yaml"))


def _is_switch(config_name: str, key: str) -> bool:
    """Whether an option is true or false in this command, though it is a path in another."""
    return isinstance(_load(config_name).get(key), bool)


def has_length(name: str, value: object) -> bool:
    """Whether an option is a list of `CHOICES`, or an empty one of `CASES`."""
    return (_is_one_of(name, CHOICES) and isinstance(value, list)) or (
        name in CASES and value == []
    )


def resolved(value: object) -> object:
    """Resolve the references of a value to other options."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
