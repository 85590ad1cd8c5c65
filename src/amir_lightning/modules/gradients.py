"""Gradients of single tasks with respect to some layers, for Fig. 1 (b)."""

import contextlib
import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from amir_lightning.data.datamodule import MultiTaskDataModule
from amir_lightning.data.dataset import PairedSlices, collate
from amir_lightning.data.sampler import MultiTaskSampler
from amir_lightning.errors import InputError
from amir_lightning.losses import total
from amir_lightning.modules.restoration_module import RestorationModule
from amir_lightning.networks import RestorationNetwork
from amir_lightning.networks.layers.blocks import TransformerBlock
from amir_lightning.networks.layers.topk_gate import TopKGate

Layers = Mapping[str, Sequence[nn.Parameter]]

_LARGEST = 8 * 2**30  # largest memory of all gradients [bytes]
_LISTS = (nn.ModuleList, nn.Sequential)


def find_layers(network: nn.Module, names: Sequence[str]) -> dict[str, list[nn.Parameter]]:
    """Find the trained weights of some layers.

    A layer is named by a parameter, or by a module, which stands for all its weights; ``network``
    is the whole network. ``second`` and ``last`` are the blocks of Fig. 1 (b), represented by the
    last linear map of the feed-forward network in the second and in the last Restormer block: the
    metric was introduced for such maps.

    Args:
        network: Network that has the layers.
        names: Names of the layers.

    Returns:
        Weights by full name of the layer.

    Raises:
        InputError: There is no such layer, or nothing in it is trained.
    """
    modules = dict(network.named_modules())
    modules["network"] = modules.pop("")
    blocks = [name for name, one in modules.items() if isinstance(one, TransformerBlock)]
    meant = {}
    if len(blocks) > 1:
        outputs = [f"{name}.feed_forward.project_out" for name in blocks]
        meant = {"second": outputs[1], "last": outputs[-1]}
    parameters = dict(network.named_parameters())
    found = {}
    for name in (meant.get(one, one) for one in names):
        if name in parameters:
            weights = [parameters[name]]
        elif name in modules:
            weights = list(modules[name].parameters())
        else:
            kind, known = type(network).__name__, [*meant, *modules, *parameters]
            raise InputError(
                f"{kind} has no layer '{name}'; {_hint(name, known)}"
                f"choose for instance from {_listed(network, meant)}"
            )
        found[name] = [one for one in weights if one.requires_grad]
        if not found[name]:
            raise InputError(
                f"layer '{name}' has no weights that are trained; choose from "
                f"{_listed(network, meant)}"
            )
    return found


def task_gradients(
    module: RestorationModule, data: MultiTaskDataModule, layers: Layers, batches: int
) -> dict[str, Tensor]:
    """Compute the gradients of the loss of each task over training mini-batches of that task.

    The mini-batches of a task are those of a training on this task alone, with the run's patch and
    batch size; every call draws the same ones. The loss has the terms of restored images and
    routing, without critic or contrast. Weights, their ``.grad``, running statistics and random
    generators are left unchanged.

    Args:
        module: Module in training mode, so that routing noise is included.
        data: Data of T tasks.
        layers: Result of `find_layers`.
        batches: Mini-batches S per task.

    Returns:
        Gradients of each layer, (T, S, P) for P weights, float32 on the CPU.

    Raises:
        InputError: There are fewer than two tasks or mini-batches, or too many gradients.
    """
    check(len(data.modules), layers, batches)
    every = list(itertools.chain.from_iterable(layers.values()))
    ends = list(itertools.accumulate(len(weights) for weights in layers.values()))
    rows: dict[str, list[list[Tensor]]] = {name: [] for name in layers}
    buffers = [(one, one.clone()) for one in module.network.buffers()]
    devices = [every[0].device] if every[0].is_cuda else []
    with torch.random.fork_rng(devices), torch.enable_grad(), _alone(module.network):
        for index, one in enumerate(data.modules):
            part = one.slices("train", None, index)
            for own in rows.values():
                own.append([])
            for number in range(batches):
                torch.manual_seed(number)
                flat = _gradients(module, part, data, number, every)
                for end, (name, weights) in zip(ends, layers.items(), strict=True):
                    rows[name][-1].append(torch.cat(flat[end - len(weights) : end]))
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return {name: torch.stack([torch.stack(own) for own in rows[name]]) for name in layers}


@contextlib.contextmanager
def _alone(network: RestorationNetwork) -> Iterator[None]:
    """Return a context for passes that depend on this process alone.

    The passes are not compiled, draw gate noise from torch's global generator, and compute the
    balance loss over the patches of this process.
    """
    gates = [one for one in network.modules() if isinstance(one, TopKGate)]
    before = [(gate.noise, gate.over_processes) for gate in gates]
    for gate in gates:
        gate.noise, gate.over_processes = None, False
    try:
        with network.as_written():
            yield
    finally:
        for gate, (noise, over_processes) in zip(gates, before, strict=True):
            gate.noise, gate.over_processes = noise, over_processes


def _gradients(
    module: RestorationModule,
    part: PairedSlices,
    data: MultiTaskDataModule,
    number: int,
    weights: Sequence[nn.Parameter],
) -> list[Tensor]:
    """Compute the flattened gradients of one mini-batch."""
    seed, size, count = data.options.seed, data.options.patch_size, data.options.batch_size
    sampler = MultiTaskSampler([len(part)], seed=seed)
    draws = [sampler.item(k) for k in range(number * count, (number + 1) * count)]
    brightness = data.options.brightness
    batch = collate(
        [part.patch(draw.index, seed, draw.counter, size, brightness=brightness) for draw in draws]
    )
    lq, hq = (image.to(weights[0]) for image in (batch.lq, batch.hq))
    loss = total(module.pair_terms(module.network.report(lq), hq))
    # Unlike backward, this leaves .grad alone.
    found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return [one.detach().float().cpu().flatten() for one in found]


def check(tasks: int, layers: Layers, batches: int) -> None:
    """Check the arguments of `task_gradients`.

    Raises:
        InputError: There are fewer than two tasks or mini-batches, or too many gradients.
    """
    if tasks < 2:
        raise InputError(
            "this run trains one task, and interference is between two; type task=mri+ct+pet to "
            "train several, or run=<a run of several tasks>"
        )
    if batches < 2:
        raise InputError(f"batches is {batches}, expected at least 2; type batches=100")
    size = sum(one.numel() for weights in layers.values() for one in weights)
    if 4 * size * batches * tasks > _LARGEST:
        fitting = _LARGEST // (4 * size * tasks)
        raise InputError(
            f"the layers have {size:,} weights, and {batches} gradients of each for {tasks} tasks "
            f"do not fit into 8 GiB; type batches={fitting}, or name smaller layers"
        )


def _hint(name: str, known: Sequence[str]) -> str:
    if name in ("second", "last"):
        return "it has fewer than two Restormer blocks; "
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _listed(network: nn.Module, special: Iterable[str]) -> str:
    """Name layers with trained weights: the network, its parts, and the parts of its lists."""
    names = [*special, "network"]
    for name, part in _trained_children(network).items():
        parts = list(_trained_children(part)) if isinstance(part, _LISTS) else []
        names.append(f"{name}.{parts[0]} to {name}.{parts[-1]}" if parts else name)
    return ", ".join(names)


def _trained_children(module: nn.Module) -> dict[str, nn.Module]:
    return {
        name: child
        for name, child in module.named_children()
        if any(one.requires_grad for one in child.parameters())
    }
