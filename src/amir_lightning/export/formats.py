"""Write the files of an exported network: weights, configuration, card, programs."""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from amir_lightning.engines.openvino import convert, core, installed, load
from amir_lightning.engines.traced import fitting, traced
from amir_lightning.errors import InputError
from amir_lightning.export.card import model_card
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.weights.folder import CONFIG, FORMAT, VERSION, WEIGHTS, network_name

log = logging.getLogger(__name__)

Run = Callable[[Tensor], Tensor]

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


def export_programs(
    folder: Path, network: RestorationNetwork, formats: Sequence[str], tolerance: float
) -> dict[str, dict[str, Any]]:
    """Write programs for any height and width, and compare each with the network.

    Args:
        folder: Existing folder.
        network: The network.
        formats: Some of `FORMATS`.
        tolerance: Largest difference; images lie in [0, 1].

    Returns:
        Entry of each program for ``config.json``.

    Raises:
        InputError: A package is missing, the network cannot be one program for all sizes, or a
            program differs by more than the tolerance.
    """
    if not formats:
        return {}
    try:
        program = traced(network)
    except InputError as error:
        raise InputError(
            f"{error}; leave {' and '.join(FORMATS)} out, the exported weights restore any size"
        ) from error
    found = {}
    for name in formats:
        file, write = FORMATS[name]
        run = write(program, folder / file)
        found[file] = _compare(file, network, run, tolerance)
    return found


def _torch_program(program: ExportedProgram, path: Path) -> Run:
    torch.export.save(program, path)
    # A guard of windowed attention, "more than one window", fails on small images for no reason.
    return torch.export.load(path).module(check_guards=False)


def _onnx(program: ExportedProgram, path: Path) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f'onnx=true needs {error.name}; type pip install "amir-lightning[onnx]"'
        ) from error
    # These warn that torchvision is not installed, which nothing here uses.
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            program,
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

    return run


def _openvino(program: ExportedProgram, path: Path) -> Run:
    if not installed():
        raise InputError(
            'openvino=true needs openvino; type pip install "amir-lightning[openvino]"'
        )
    load().save_model(convert(program), path, compress_to_fp16=False)
    # The default is bf16 on many CPUs.
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: torch.from_numpy(compiled(image.numpy())[0])


FORMATS = {
    "torch_export": ("model.pt2", _torch_program),
    "onnx": ("model.onnx", _onnx),
    "openvino": ("model.xml", _openvino),
}
"""Programs by the option of ``export`` that asks for them: the file, and what writes and reads it.
"""


def _compare(
    name: str, network: RestorationNetwork, program: Run, tolerance: float
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
