"""Identity of a run: its whole configuration and its data, except for listed options.

The identity is written to ``run.json``, and its hash is the end of the run folder's name. Options
count unless they are listed here, so a training that differs in any other way is another run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amir_lightning.config import leaves, shipped_in_words, shipped_weights
from amir_lightning.errors import InputError
from amir_lightning.system import cores
from amir_lightning.system.own_code import own_code

NOT_COUNTED: Mapping[str, str] = {
    "run": "names a folder",
    "paths": "where files lie; data count by their content",
    "logger": "where curves go",
    "profiler": "measures a session and changes no number",
    "trusted": "modules whose classes a run folder may name",
    "checkpoint.every": "a resumed run ends with the same weights, wherever it was stopped",
    "on_nan": "of two runs that meet such a gradient, only the one that skips it has a result",
    "compile": "the same formulas with other rounding, as on another device; run.json records it",
    "recompute": "the same activations, computed twice",
    "experiment_steps": "counted where it is used, as trainer.max_steps",
    "experiment_validation": "counted where it is used, as validation.every",
    "experiment_task_steps": "counted where it is used, as trainer.max_steps",
    "data.source": "counted by the data that were found",
    "data.phantoms": "counted in the recipe of the phantoms",
    "data.batch_size": "counted as the global batch of all processes",
    "data.num_workers": "workers read the same patches",
    "tasks.*.title": "a label",
    "tasks.*.display_window": "how pictures are shown",
    "tasks.*.error_window": "how pictures are shown",
    "tasks.*.dicom_modality": "which scans prepare and restore take",
    "tasks.*.plausible": "which scans prepare takes",
    "tasks.*.measured": "which scans prepare takes",
    "tasks.*.phantom": "counted in the recipe of the phantoms",
    "tasks.*.phantom_slices": "counted in the recipe of the phantoms",
    "trainer.accelerator": "the machine; run.json records it",
    "trainer.devices": "the machine; processes share the global batch",
    "trainer.num_nodes": "the machine; processes share the global batch",
    "trainer.log_every_n_steps": "how often curves are written",
}
"""Options that do not change the numbers of a run beyond rounding, and why; ``*`` is any task."""

OBSERVERS = (
    "amir_lightning.callbacks.Interference",
    "amir_lightning.callbacks.RoutingMonitor",
    "amir_lightning.callbacks.SampleGrids",
    "lightning.pytorch.callbacks.LearningRateMonitor",
)
"""Callbacks that only watch a training. Other callbacks count."""

STRATEGIES = ("auto", "ddp", "fsdp")
"""Strategies whose processes share the batch and make the same step. Other strategies count."""

BATCH_STATISTICS = (
    "amir_lightning.networks.AirNet",
    "amir_lightning.networks.ARGAN",
    "amir_lightning.networks.DCNN",
)
"""Networks that normalise over the batch of each process, so the number of processes counts."""

OWN_CODE = "own_code"
"""Key of the identity below which the code of a user's own classes counts."""

# History of options, which keeps the names of runs when options change. An added option is left out
# at the value that trains as before it existed. An option or class that moved counts under its old
# name.
ADDED: Mapping[str, object] = {
    "optimizer.algorithm": "adam",
    "optimizer.weight_decay": 0.0,
    "optimizer.average_decay": None,
    "optimizer.average_warmup": 0.667,
    "scored": "test",
    "optimizer.trains": "all",
    "data.brightness": None,
}
MOVED: Mapping[str, str] = {}
MOVED_CLASSES: Mapping[str, str] = {}


def counts(option: str) -> bool:
    """Return whether a dotted option is part of the identity."""
    parts = option.split(".")
    return not any(
        len(parts) >= len(pattern) and all(map(_matches, parts, pattern))
        for pattern in (one.split(".") for one in NOT_COUNTED)
    )


def identity(
    config: Mapping[str, Any],
    tasks: Sequence[str],
    data: Mapping[str, Mapping[str, Any]],
    processes: int,
    *,
    added: Mapping[str, object] = ADDED,
    moved: Mapping[str, str] = MOVED,
    moved_classes: Mapping[str, str] = MOVED_CLASSES,
) -> dict[str, Any]:
    """Collect everything that decides the numbers of a run.

    Args:
        config: Resolved configuration as plain types.
        tasks: Names of the trained tasks.
        data: Entry of each task's data in ``run.json``.
        processes: Number of processes. Usually only the global batch counts, because processes that
            share it change no more than the rounding.
        added: Options, each with the value at which it is left out of the identity.
        moved: Present names of moved options, and the names under which they count.
        moved_classes: Present names of moved classes, and the names under which they count.

    Raises:
        InputError: The file of ``network.pretrained`` cannot be read.
    """
    options = dict(leaves(_of_tasks(config, tasks)))
    counted = {option: value for option, value in options.items() if counts(option)}
    for name, node in (config.get("callbacks") or {}).items():
        if node is None or (isinstance(node, Mapping) and node.get("_target_") in OBSERVERS):
            prefix = f"callbacks.{name}"
            counted = {key: value for key, value in counted.items() if not _lies_in(key, prefix)}
    if counted.get("trainer.strategy") in STRATEGIES:
        del counted["trainer.strategy"]
    if (pretrained := counted.get("network.pretrained")) is not None:
        path = shipped_weights(str(pretrained)) or Path(str(pretrained))
        path = path / "model.safetensors" if path.is_dir() else path
        counted["network.pretrained"] = _hash_of(path, "network.pretrained")
    counted["data.global_batch"] = options["data.batch_size"] * processes
    if processes > 1 and not _is_split_exactly(config):
        counted["trainer.processes"] = processes
    for option, value in added.items():
        if option in counted and _plain(counted[option]) == _plain(value):
            del counted[option]
    kept = {_moved(option, moved): value for option, value in counted.items()}
    for option, value in counted.items():
        node = {"_target_": value} if option.endswith("_target_") else value
        kept |= {f"{OWN_CODE}.{target}": found for target, found in own_code(node).items()}
    kept |= dict(leaves({"trained_on": {name: _seen(facts) for name, facts in data.items()}}))
    return {
        option: moved_classes.get(value, value)
        if option.endswith("_target_") and isinstance(value, str)
        else _plain(value)
        for option, value in sorted(kept.items())
    }


def without_data(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity without its data."""
    return {key: value for key, value in identity.items() if not _lies_in(key, "trained_on")}


def digest(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 hash of an identity as hexadecimal digits."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_names(identity: Mapping[str, Any]) -> list[str]:
    """Return ``<tasks>-<network>-<scale>-s<seed>-<hash>``, also with 16 and 64 digits of the hash.

    The longer names are used if another run has taken the shorter ones.
    """
    head = [str(identity[key]) for key in ("task", "network_name", "scale")]
    whole = digest(identity)
    return ["-".join([*head, f"s{identity['seed']}", whole[:length]]) for length in (8, 16, 64)]


def network_name(choice: str, config: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Return the name of a network: its file in ``conf/network``, or its class if that was typed.

    Args:
        choice: Name of the file.
        config: The network node.
        overrides: Options that were typed.
    """
    typed = any(text.lstrip("+").startswith("network._target_=") for text in overrides)
    return str(config["_target_"]).rpartition(".")[2] if typed else choice


def number_of_processes(config: Mapping[str, Any]) -> int:
    """Return the number of processes of a run on all its nodes."""
    return cores.devices(config["trainer"]) * int(config["trainer"]["num_nodes"])


def _is_split_exactly(config: Mapping[str, Any]) -> bool:
    """Whether several processes make the same step as one: no term depends on the process."""
    target = str(config["network"]["_target_"])
    own = not target.startswith("amir_lightning.networks.")  # may normalise over its batch
    return bool(config["loss"]["global_balance"]) and not own and target not in BATCH_STATISTICS


def _of_tasks(config: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    return {**config, "tasks": {name: config["tasks"][name] for name in tasks}}


def _seen(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Identity of a task's data: phantoms by their recipe, which is the same on every CPU."""
    if facts.get("drawn"):
        return {"source": "phantoms", "drawn": facts["drawn"]}
    return {"fingerprint": facts["fingerprint"]}


def _matches(part: str, pattern: str) -> bool:
    return pattern in (part, "*")


def _moved(option: str, moved: Mapping[str, str]) -> str:
    for now, before in moved.items():
        if _lies_in(option, now):
            return before + option[len(now) :]
    return option


def _lies_in(option: str, node: str) -> bool:
    return option == node or option.startswith(f"{node}.")


def _plain(value: Any) -> Any:
    """Write equal values in one way: 1.0 as 1, sequences as lists."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value


def _hash_of(path: Path, option: str) -> str:
    """Hash a file's content, so that moving the file keeps the run.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{option}={path} cannot be read ({error.strerror}); give the path of a file of "
            f"weights or of a folder that export wrote, or {shipped_in_words()}"
        ) from error
