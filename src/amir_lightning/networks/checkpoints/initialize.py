"""Start a network from weights: ours, or public ones of Restormer, SwinIR, AMIR, TAT, Restore-RWKV.

What had to be adapted and what did not fit is told; another shape is refused.
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
_REMADE = re.compile(r"(attn_mask|relative_position_index)$")  # follow from sizes, need no file
_SWINIR_MEAN = (0.4488, 0.4371, 0.4040)  # the released colour networks take it off the image


class Started(NamedTuple):
    """What became of the entries of a file.

    Attributes:
        loaded: Parameters that were taken.
        adapted: Parameters whose image channels were changed, and how.
        missing: Parameters that the file does not have; they keep their initial values.
        left_out: Entries of the file that the network does not have.
    """

    loaded: list[str]
    adapted: list[str]
    missing: list[str]
    left_out: list[str]

    def lines(self, path: Path) -> list[str]:
        """All of it in words."""
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
    """Whole parts, such as the critic of a training, by their first name and number."""
    counts = Counter(name.split(".")[0] for name in entries)
    parts = [f"{part}.* ({count} entries)" for part, count in counts.items() if count > 8]
    return [name for name in entries if counts[name.split(".")[0]] <= 8] + parts


def start_from(network: nn.Module, path: Path) -> Started:
    """Load what a file holds for a network, under our names or the public ones.

    Colour weights (three image channels) start a grey network: a grey image in all three channels
    sums the first layer over them, and the last one is averaged. Public colour weights of SwinIR
    take a mean off the image, which goes into the first bias; at the border that is not the same,
    because images are padded with zeros.

    Args:
        network: The network; changed in place.
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
                f"{tuple(own[name].shape)} here; give weights of this size, or change network.*"
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
    """Parameters by name from a file of any of the known kinds; nothing in it can run code.

    Raises:
        InputError: It is missing, damaged, or holds no parameters.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} cannot be read ({error}); give another file") from error
    # A checkpoint of `train` has the network under this prefix, and beside it what trained it.
    return {name.removeprefix("network."): value for name, value in official.read(path).items()}


def _refuse_other_norm(theirs: Mapping[str, str], state: Mapping[str, Tensor], path: Path) -> None:
    """A normalisation without bias is another function, not a bias of zero."""
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
    """Bring first and last layer from three image channels to one."""
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
