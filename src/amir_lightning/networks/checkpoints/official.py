"""Checkpoints of AMIR's release: translation of their names and shapes to this project's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.networks.checkpoints import safe_load
from amir_lightning.networks.checkpoints.names import RESTORMER, Rule, renamed

_WRAPPERS = ("state_dict", "params", "params_ema", "model", "model_state_dict")

# From our names to the official ones; * stands for the index of an expert.
_RENAMES: list[Rule] = [
    *RESTORMER,
    (r"^instruct\.encoder\.", "dict_generator.CondNet."),
    (r"^instruct\.head\.", "dict_generator.lastOut."),
    (r"^instruct\.", "dict_generator."),
    (r"^(spatial|channel)_routing\.(en|de)coder(\d)\.", r"\1_routing_\2coder_level\3."),
    (r"^channel_routing\.bottleneck\.", "channel_routing_latent."),
    (r"^((?:spatial|channel)_routing_\w+)\.project\.", r"\1.fc."),
    (r"^(channel_routing_\w+)\.scale$", r"\1.gamma"),
    (r"^(channel_routing_\w+)\.shift$", r"\1.beta"),
    (r"\.gate\.weight$", ".moe.w_gate"),
    (r"\.gate\.noise_weight$", ".moe.w_noise"),
    (r"\.experts\.hidden_(weight|bias)$", r".moe.experts.*.fc1.\1"),
    (r"\.experts\.output_(weight|bias)$", r".moe.experts.*.fc2.\1"),
]


class Sizes(NamedTuple):
    """Constructor arguments of AMIR that the shapes of a checkpoint determine."""

    in_channels: int
    width: int
    depths: tuple[int, ...]
    refinement_depth: int
    heads: tuple[int, ...]
    instruction_size: int
    num_experts: int
    num_instructions: int


def read(source: str | Path | Mapping[str, object]) -> dict[str, Tensor]:
    """Read parameters by name from a checkpoint file or a mapping, which may be nested once.

    Raises:
        InputError: The file is missing or unreadable, or holds no parameters by name.
    """
    content: object = source
    if isinstance(source, str | Path):
        try:
            content = safe_load.load(source)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"no checkpoint at {source}; give the path of a .pth file") from None
        except Exception as error:  # damaged bytes make the unpickler raise almost anything
            raise InputError(
                f"{source} is not a readable checkpoint of parameters alone; give an undamaged "
                "file that torch.save wrote from a state_dict"
            ) from error
    if isinstance(content, Mapping):
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise InputError(
            "the checkpoint is not a mapping from parameter names to tensors; give the state_dict "
            "of the network, alone or under one of the keys " + ", ".join(_WRAPPERS)
        )
    return {name.removeprefix("module."): value for name, value in content.items()}


def infer_sizes(state: Mapping[str, Tensor]) -> Sizes:
    """Infer the sizes of a network from its official parameters.

    Raises:
        InputError: A parameter that determines a size is missing or has another rank.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in state:
            raise _missing(name)
        if state[name].ndim != rank:
            raise InputError(
                f"{name} has shape {tuple(state[name].shape)}, expected {rank} dimensions; "
                "give a checkpoint of the released AMIR"
            )
        return tuple(state[name].shape)

    def count(prefix: str) -> int:
        numbers = (re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state)
        return len({match[1] for match in numbers if match})

    stages = ["encoder_level1", "encoder_level2", "encoder_level3", "latent"]
    width, in_channels = shape("patch_embed.proj.weight", 4)[:2]
    num_instructions, instruction_size = shape("dict_generator.dictionary", 2)
    return Sizes(
        in_channels=in_channels,
        width=width,
        depths=tuple(count(stage) for stage in stages),
        refinement_depth=count("refinement"),
        heads=tuple(shape(f"{stage}.0.attn.temperature", 3)[0] for stage in stages),
        instruction_size=instruction_size,
        num_experts=shape("spatial_routing_encoder_level1.moe.w_gate", 2)[1],
        num_instructions=num_instructions,
    )


def export_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our parameters under their official names, one entry for each expert."""
    exported = {}
    for official, (ours, expert) in _sources(state).items():
        exported[official] = state[ours] if expert is None else state[ours][expert]
    for name in list(exported):
        if name.endswith(".moe.w_gate"):  # constant mean and deviation of the noise
            exported[name.replace("w_gate", "mean")] = exported[name].new_zeros(1)
            exported[name.replace("w_gate", "std")] = exported[name].new_ones(1)
    return exported


def import_state(
    official: Mapping[str, Tensor], template: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Translate all official parameters to our names, without the constant noise buffers.

    Args:
        official: Parameters by official name.
        template: State of a network of the same sizes, for names and shapes.

    Raises:
        InputError: A name is missing or unexpected, or a shape differs.
    """
    expected = export_state(template)
    for name, tensor in expected.items():
        if name not in official:
            raise _missing(name)
        if official[name].shape != tensor.shape:
            raise InputError(
                f"{name} has shape {tuple(official[name].shape)}, expected {tuple(tensor.shape)}; "
                "give a checkpoint of the released AMIR"
            )
    for name in official:
        if name not in expected:
            raise InputError(
                f"the checkpoint has {name}, which the released AMIR does not have; "
                "give a checkpoint of the released AMIR"
            )
    return translate(official, template)


def translate(official: Mapping[str, Tensor], template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate official parameters that a network has; others keep their official names.

    Args:
        official: Parameters by official name; constant noise buffers are dropped.
        template: State of the network, for names and shapes.
    """
    gathered: dict[str, list[str]] = {}
    for name, (ours, _) in _sources(template).items():
        gathered.setdefault(ours, []).append(name)
    found = {
        ours: torch.stack([official[name] for name in parts])
        if template[ours].ndim > official[parts[0]].ndim
        else official[parts[0]]
        for ours, parts in gathered.items()
        if all(name in official for name in parts)
    }
    used = {name for ours in found for name in gathered[ours]}
    rest = {name: value for name, value in official.items() if name not in used}
    return found | {k: v for k, v in rest.items() if not k.endswith((".moe.mean", ".moe.std"))}


def _sources(state: Mapping[str, Tensor]) -> dict[str, tuple[str, int | None]]:
    """Map each official name to our name and, for stacked experts, the index in the stack."""
    sources: dict[str, tuple[str, int | None]] = {}
    for ours, name in renamed(state, _RENAMES).items():
        if "*" in name:
            for expert in range(state[ours].shape[0]):
                sources[name.replace("*", str(expert))] = (ours, expert)
        else:
            sources[name] = (ours, None)
    return sources


def _missing(name: str) -> InputError:
    return InputError(
        f"the checkpoint has no {name}; give a checkpoint of the released AMIR with all its entries"
    )
