"""What makes a run the same run: all of its configuration and its data, but a list of exceptions.

The identity is written to ``run.json``, and its hash ends the name of the run folder. An option
that nobody thought of is part of it: a training which differs in anything is another run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amir_lightning.config import leaves
from amir_lightning.errors import InputError
from amir_lightning.system import cores
from amir_lightning.system.own_code import own_code

NOT_COUNTED: Mapping[str, str] = {
    "run": "names a folder",
    "paths": "where files lie; data are known by what they hold",
    "logger": "where curves go",
    "profiler": "measures a session and changes no number",
    "trusted": "what a run folder may name",
    "checkpoint.every": "a resumed run ends with the same weights, wherever it was stopped",
    "on_nan": "a run that meets such a gradient ends with a result only if it skips the step",
    "compile": "the same formulas, rounded otherwise, as on another device; run.json has both",
    "recompute": "the same activations, computed twice",
    "experiment_steps": "counted where it is used, as trainer.max_steps",
    "experiment_validation": "counted where it is used, as validation.every",
    "data.source": "counted as the data that were found",
    "data.phantoms": "counted in what draws the phantoms",
    "data.batch_size": "counted as the batch of all processes together",
    "data.num_workers": "who reads a patch does not change it",
    "tasks.*.title": "a label",
    "tasks.*.display_window": "how pictures are shown",
    "tasks.*.error_window": "how pictures are shown",
    "tasks.*.dicom_modality": "which scans prepare and restore take",
    "tasks.*.plausible": "which scans prepare takes",
    "tasks.*.phantom": "counted in what draws the phantoms",
    "tasks.*.phantom_slices": "counted in what draws the phantoms",
    "trainer.accelerator": "the machine; run.json has it",
    "trainer.devices": "the machine; processes share one batch",
    "trainer.num_nodes": "the machine; processes share one batch",
    "trainer.log_every_n_steps": "how often curves are written",
}
"""Options that change no number of a run but its rounding, and why; ``*`` is a task."""

OBSERVERS = (
    "amir_lightning.callbacks.Interference",
    "amir_lightning.callbacks.RoutingMonitor",
    "amir_lightning.callbacks.SampleGrids",
    "lightning.pytorch.callbacks.LearningRateMonitor",
)
"""Callbacks that watch a training and leave it as it is; any other one is counted."""

STRATEGIES = ("auto", "ddp", "fsdp")
"""Ways to share a batch among processes that make the same step; any other one is counted."""

BATCH_STATISTICS = (
    "amir_lightning.networks.AirNet",
    "amir_lightning.networks.ARGAN",
    "amir_lightning.networks.DCNN",
)
"""Networks that normalise over the batch of each process, so that their number counts."""

OWN_CODE = "own_code"
"""Where the identity holds the code of a user's own classes, by their names."""

# The history of options, so that names stay when options change. A new option is left out of the
# identity at the value that trains as before it existed; one that moved counts at its old place,
# and a class that moved under its old name.
ADDED: Mapping[str, object] = {
    "optimizer.algorithm": "adam",
    "optimizer.weight_decay": 0.0,
    "optimizer.average_decay": None,
    "optimizer.average_warmup": 0.667,
}
MOVED: Mapping[str, str] = {}
MOVED_CLASSES: Mapping[str, str] = {}


def counts(option: str) -> bool:
    """Whether a dotted option is part of the identity wherever its value is what users may type."""
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
    """Everything that decides the numbers of a run, in the form that `ADDED` and `MOVED` keep.

    Args:
        config: Resolved configuration, plain types.
        tasks: Names of the tasks that are trained.
        data: What `run.json` says of each task's data.
        processes: Number of processes; what counts is the batch of all of them together, which
            they split without changing a number but in its last digits.
        added: Options that are left out at these values.
        moved: Options by their present place, and where they are counted.
        moved_classes: Classes by their present path, and the path that is counted.

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
        path = Path(str(pretrained))
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
    """The identity of the same training on whatever data."""
    return {key: value for key, value in identity.items() if not _lies_in(key, "trained_on")}


def digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity as hexadecimal text."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_names(identity: Mapping[str, Any]) -> list[str]:
    """``<tasks>-<network>-<scale>-s<seed>-<hash>``, and the same with more of the hash.

    The longer names are for a folder that another run has taken.
    """
    head = [str(identity[key]) for key in ("task", "network_name", "scale")]
    whole = digest(identity)
    return ["-".join([*head, f"s{identity['seed']}", whole[:length]]) for length in (8, 16, 64)]


def network_name(choice: str, config: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """What a network is called: its file in ``conf/network``, or its class where that was typed.

    Args:
        choice: The file.
        config: The network node.
        overrides: What was typed.
    """
    typed = any(text.lstrip("+").startswith("network._target_=") for text in overrides)
    return str(config["_target_"]).rpartition(".")[2] if typed else choice


def number_of_processes(config: Mapping[str, Any]) -> int:
    """Number of processes of a run on all its nodes."""
    return cores.devices(config["trainer"]) * int(config["trainer"]["num_nodes"])


def _is_split_exactly(config: Mapping[str, Any]) -> bool:
    """Whether several processes make the step of one: not if a term is of each process alone."""
    target = str(config["network"]["_target_"])
    own = not target.startswith("amir_lightning.networks.")  # of which nothing is known
    return bool(config["loss"]["global_balance"]) and not own and target not in BATCH_STATISTICS


def _of_tasks(config: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    return {**config, "tasks": {name: config["tasks"][name] for name in tasks}}


def _seen(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run sees of a task's data: phantoms by what draws them, the same on every CPU."""
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
    """A value that is written in one way: 1.0 as 1, sequences as lists."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value


def _hash_of(path: Path, option: str) -> str:
    """Hash of a file's content, so that a moved file is the same run.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{option}={path} cannot be read ({error.strerror}); give the path of a file of "
            "weights, or of a folder that export wrote"
        ) from error
