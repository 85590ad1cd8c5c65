"""Initialise a network from a file of weights.

The weights are this project's, or public ones of Restormer, SwinIR, AMIR, TAT and Restore-RWKV.
Parameters that were adapted or left out are reported; a shape that does not fit is an error.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.checkpoints import names, official, successors

_PUBLIC = {
    "Restormer": names.RESTORMER,
    "SwinIR": names.SWINIR,
    "TAT": names.TAT,
    "RestoreRWKV": names.RESTORE_RWKV,
}
_REMADE = re.compile(r"(attn_mask|relative_position_index)$")  # derived from sizes
_SWINIR_MEAN = (0.4488, 0.4371, 0.4040)  # subtracted from images by the released colour networks


class Started(NamedTuple):
    """Report on the entries of a file.

    Attributes:
        loaded: Parameters that were loaded.
        adapted: Parameters whose image channels were changed, with the change.
        missing: Parameters that the file lacks; they keep their initial values.
        left_out: Entries of the file that the network lacks.
    """

    loaded: list[str]
    adapted: list[str]
    missing: list[str]
    left_out: list[str]

    def lines(self, path: Path) -> list[str]:
        """Describe the report in lines of text."""
        total = len(self.loaded) + len(self.missing)
        said = [f"starting from {path}: {len(self.loaded)} of {total} parameters"]
        for what, listed in (
            ("adapted", self.adapted),
            ("not in the file, as drawn", self.missing),
            ("in the file, but not in the network", _shortened(self.left_out)),
        ):
            said += [f"  {what}: {', '.join(listed)}"] if listed else []
        return said


def _shortened(entries: list[str]) -> list[str]:
    """Summarise large parts, such as a critic, by their first name and number of entries."""
    counts = Counter(name.split(".")[0] for name in entries)
    parts = [f"{part}.* ({count} entries)" for part, count in counts.items() if count > 8]
    return [name for name in entries if counts[name.split(".")[0]] <= 8] + parts


def start_from(network: nn.Module, path: Path) -> Started:
    """Load the parameters of a file into a network, by this project's names or the public ones.

    Colour weights (three image channels) can initialise a grey network. For a grey image in all
    three channels, the first layer is summed over them; the last layer is averaged. Public colour
    weights of SwinIR expect that a mean is subtracted from the image; the first bias does that.
    At the border this is not exact, because images are padded with zeros.

    Args:
        network: Network to change in place.
        path: ``.pth``, ``.ckpt`` or ``.safetensors`` file, or a folder that ``export`` wrote.

    Raises:
        InputError: The file cannot be read, holds another network, or a shape differs.
    """
    state = {name: value for name, value in read(path).items() if not _REMADE.search(name)}
    state = {name: value for name, value in state.items() if not successors.DEPLOYED.search(name)}
    own = dict(network.state_dict())
    kind = type(network).__name__
    if kind == "AMIR" and any(name.startswith("dict_generator.") for name in state):
        state = official.translate(state, own)
    theirs = names.renamed(own, _PUBLIC.get(kind, []))
    public = sum(name in state for name in theirs.values()) > sum(name in state for name in own)
    if not public:
        theirs = {name: name for name in own}
    if not any(name in state for name in theirs.values()):
        raise InputError(
            f"{path} has none of the parameters of {kind}, but for instance "
            f"{', '.join(list(state)[:2])}; give weights of {kind}"
        )
    _refuse_other_norm(theirs, state, path)
    found = {ours: state[name] for ours, name in theirs.items() if name in state}
    found = successors.shaped(found, network) if kind == "TAT" else found
    adapted = _to_image_channels(found, own, public and kind == "SwinIR")
    for name, value in found.items():
        if value.shape != own[name].shape:
            raise InputError(
                f"{path} does not fit: {theirs[name]} is {tuple(value.shape)} there and "
                f"{tuple(own[name].shape)} here; give weights of this size, or change scale= or "
                "network.*"
            )
    network.load_state_dict(found, strict=False)
    used = set(theirs.values())
    return Started(
        loaded=list(found),
        adapted=adapted,
        missing=[name for name in own if name not in found and not _REMADE.search(name)],
        left_out=[name for name in state if name not in used],
    )


def read(path: Path) -> dict[str, Tensor]:
    """Read parameters by name from a file or exported folder; no code of the file is run.

    Raises:
        InputError: It is missing, damaged, or has no parameters.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read ({error}); give another file") from error
    # A checkpoint of `train` has the network under this prefix, next to the state of training.
    return {name.removeprefix("network."): value for name, value in official.read(path).items()}


def _refuse_other_norm(theirs: Mapping[str, str], state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights of the other layer normalisation, whose parameters would fit.

    The normalisation without bias also keeps the mean, so a bias of zero does not replace it.
    """
    for ours, name in theirs.items():
        if not re.search(r"\.norm[12]\.weight$", ours) or name not in state:
            continue
        bias = name.removesuffix("weight") + "bias"
        if (bias in state) != (ours.removesuffix("weight") + "bias" in theirs):
            has, kind = ("has", "with_bias") if bias in state else ("has no", "bias_free")
            raise InputError(
                f"{path} {has} {bias}: its normalisation is another one; type "
                f"network.layer_norm={kind}"
            )


def _to_image_channels(
    found: dict[str, Tensor], own: Mapping[str, Tensor], takes_mean_off: bool
) -> list[str]:
    """Reduce the first and the last layer from three image channels to one."""
    adapted = []
    for name in list(found):
        there, here = tuple(found[name].shape), tuple(own[name].shape)
        first, last = name.startswith("stem."), name.startswith("head.")
        if first and len(there) == 4 and there[1] == 3 and takes_mean_off:
            mean = found[name].new_tensor(_SWINIR_MEAN)
            offset = torch.einsum("oiyx,i->o", found[name], mean)
            found["stem.bias"] = found["stem.bias"] - offset
            adapted.append("stem.bias (takes the mean off the image)")
        if first and len(there) == 4 and (there[1], here[1]) == (3, 1):
            found[name] = found[name].sum(dim=1, keepdim=True)
            adapted.append(f"{name} (summed over three image channels)")
        if last and (there[0], here[0]) == (3, 1):
            found[name] = found[name].mean(dim=0, keepdim=True)
            adapted.append(f"{name} (mean over three image channels)")
    return adapted
