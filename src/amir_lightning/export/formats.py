"""Write the files of an exported network: weights, configuration, card, programs."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amir_lightning.engines.traced import fitting, traced
from amir_lightning.errors import InputError
from amir_lightning.export.card import model_card
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.weights.folder import CONFIG, FORMAT, VERSION, WEIGHTS, network_name

log = logging.getLogger(__name__)

_COMPARED = ((64, 64), (96, 160), (128, 72))  # sizes on which a program is compared


def write_weights_folder(
    folder: Path,
    network: RestorationNetwork,
    arguments: Mapping[str, Any],
    tasks: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> None:
    """Write ``model.safetensors``, ``config.json`` and the model card.

    Args:
        folder: Existing folder.
        network: The network.
        arguments: Arguments of its constructor, plain types.
        tasks: Configuration of the tasks it was trained on.
        about: Further entries: scores, data, versions, scale, seed.

    Raises:
        InputError: A weight is NaN or infinite.
    """
    from safetensors.torch import save

    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"the weight {name} has NaN or infinite values; export another checkpoint"
            )
    data = save(state)
    (folder / WEIGHTS).write_bytes(data)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "network": {"class": network_name(network), "arguments": dict(arguments)},
        "parameters": sum(one.numel() for one in network.parameters() if one.requires_grad),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "tasks": {name: dict(node) for name, node in tasks.items()},
        **about,
    }
    write_config(folder, config)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write ``config.json`` and the model card."""
    (folder / CONFIG).write_text(json.dumps(config, indent=2, default=str) + "\n")
    (folder / "README.md").write_text(model_card(config))


def export_program(
    folder: Path, network: RestorationNetwork, tolerance: float
) -> dict[str, dict[str, Any]]:
    """Write ``model.pt2``, a `torch.export` program of any height and width, and compare it.

    Returns:
        Entry of the program for ``config.json``.

    Raises:
        InputError: The program differs from the network by more than the tolerance.
    """
    program = _trace(network)
    torch.export.save(program, folder / "model.pt2")
    # A guard of windowed attention, "more than one window", fails on small images for no reason.
    loaded = torch.export.load(folder / "model.pt2").module(check_guards=False)
    return {"model.pt2": _compare("model.pt2", network, loaded, tolerance)}


def export_onnx(
    folder: Path, network: RestorationNetwork, tolerance: float
) -> dict[str, dict[str, Any]]:
    """Write ``model.onnx`` for any height and width, and compare it by ONNX Runtime.

    Returns:
        Entry of the program for ``config.json``.

    Raises:
        InputError: A package is missing, or the result differs by more than the tolerance.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f'onnx=true needs {error.name}; type pip install "amir-lightning[onnx]"'
        ) from error
    path = folder / "model.onnx"
    # These warn that torchvision is not installed, which nothing here uses.
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _trace(network),
            f=str(path),
            dynamo=True,
            input_names=["lq"],
            output_names=["restored"],
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        (restored,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        return torch.from_numpy(restored)

    return {"model.onnx": _compare("model.onnx", network, run, tolerance)}


def _trace(network: RestorationNetwork) -> torch.export.ExportedProgram:
    try:
        return traced(network)
    except InputError as error:
        raise InputError(
            f"{error}; leave torch_export and onnx out, the exported weights restore any size"
        ) from error


def _compare(
    name: str, network: RestorationNetwork, program: Callable[[Tensor], Tensor], tolerance: float
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    multiple = network.size_multiple
    largest, sizes = 0.0, []
    for shape in _COMPARED:
        height, width = (fitting(side, multiple) for side in shape)
        image = torch.rand(1, 1, height, width, generator=generator)
        with torch.inference_mode():
            difference = (program(image.clone()) - network(image)).abs().max()
        largest = max(largest, float(difference))
        sizes.append(f"{height}x{width}")
    if not largest <= tolerance:
        raise InputError(
            f"{name} differs from the network by {largest:.2g}, more than tolerance={tolerance:g}; "
            "leave the format out, or raise the tolerance if you can live with that"
        )
    log.info("%s: largest difference on %s: %.2g", name, ", ".join(sizes), largest)
    return {"compared_on": sizes, "largest_difference": largest, "size_multiple": multiple}
