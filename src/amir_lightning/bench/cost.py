"""Seconds and peak memory of inference or of a whole training step."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from amir_lightning.bench.process import clock, forget_peak, peak_mib, resident_mib
from amir_lightning.engines.choice import ON_A_CPU, Request, use_engine
from amir_lightning.losses import restoration_terms, total
from amir_lightning.modules.optimizers import adam
from amir_lightning.networks import RestorationNetwork
from amir_lightning.system.allocator import keep_memory, return_memory

Build = Callable[[], nn.Module]
"""Makes a network; what it is made with has been imported before."""


class Case(NamedTuple):
    """One kind of pass.

    Attributes:
        what: "inference" or "training".
        batch: Images per pass.
        height: Rows of an image.
        width: Columns of an image.
        precision: "float32", or "bf16": float32 weights under autocast.
        channels: Channels of an image.
        engine: "torch", or "openvino" for inference on a CPU.
    """

    what: str
    batch: int
    height: int
    width: int
    precision: str
    channels: int = 1
    engine: str = "torch"


class Cost(NamedTuple):
    """Measured cost.

    Attributes:
        seconds: Time of each pass.
        memory_mib: Peak memory of weights and passes [MiB]. On a GPU this is the peak of the
            allocator, on a CPU the growth of the process since before the network was built.
    """

    seconds: tuple[float, ...]
    memory_mib: float


class Recipe(NamedTuple):
    """How a network is run.

    Attributes:
        loss: Options of `restoration_terms`.
        learning_rate: Learning rate of Adam.
        betas: Betas of Adam.
        seconds: Passes are repeated for at least this time.
        device: "cpu" or "cuda".
        compile: Whether this project's networks are compiled: training steps, and restoring on a
            GPU, where both are replayed as CUDA graphs.
    """

    loss: Mapping[str, Any]
    learning_rate: float
    betas: tuple[float, float]
    seconds: float
    device: str
    compile: bool = False


def configured(node: Mapping[str, Any]) -> Build:
    """Prepare the network of a configuration node."""
    from hydra.utils import get_class, instantiate

    get_class(node["_target_"])  # imports libraries, which do not count as memory of the network
    return partial(instantiate, dict(node))


def cost(open_network: Callable[[], Build], case: Case, recipe: Recipe, tuned: bool) -> Cost:
    """Measure in this process; call it through `apart`.

    One pass warms up. A training step is the forward pass, the plain objective, the backward pass
    and Adam's step on random images.

    Args:
        open_network: Imports the code of a network and returns a function that builds it.
        case: What is measured.
        recipe: How the network is run.
        tuned: Whether the C allocator is tuned as in training.
    """
    device = recipe.device
    if tuned and case.what == "training":
        keep_memory()
    elif tuned:
        return_memory(case.batch * case.height * case.width)
    build = open_network()
    torch.zeros(64, 64, device=device) @ torch.zeros(64, 64, device=device)  # loads libraries
    before = resident_mib() if device == "cpu" else 0.0
    torch.manual_seed(0)
    network = build().to(device)
    if recipe.compile and isinstance(network, RestorationNetwork):
        network.compile(replays=True)
    run = _step(network, case, recipe) if case.what == "training" else _pass(network, case, recipe)
    forget_peak(device)
    times: list[float] = []
    run()
    while sum(times) < recipe.seconds or not times:
        start = clock(device)
        run()
        times.append(clock(device) - start)
    return Cost(tuple(times), peak_mib(device) - before)


def _images(case: Case, device: str) -> Tensor:
    return torch.rand(case.batch, case.channels, case.height, case.width, device=device)


def _autocast(case: Case, device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=case.precision == "bf16")


def _pass(network: nn.Module, case: Case, recipe: Recipe) -> Callable[[], None]:
    network.eval()
    lq = _images(case, recipe.device)

    precision = _autocast(case, recipe.device)
    if recipe.compile and recipe.device == "cuda" and isinstance(network, RestorationNetwork):
        network.compile_restoring()
        with torch.inference_mode(), precision:
            network(lq)  # the next images of this size are compiled
    if case.engine == "openvino":
        assert isinstance(network, RestorationNetwork)
        use_engine(network, Request("openvino", case.precision, (), None), ON_A_CPU)
        precision = torch.autocast("cpu", enabled=False)
        with torch.inference_mode():
            network(lq)  # compiled now, before memory and time are measured

    def run() -> None:
        with torch.inference_mode(), precision:
            network(lq)

    return run


def _step(network: nn.Module, case: Case, recipe: Recipe) -> Callable[[], None]:
    network.train()
    lq, hq = (_images(case, recipe.device) for _ in range(2))
    optimizer = adam(network.parameters(), recipe.learning_rate, recipe.betas)

    def run() -> None:
        optimizer.zero_grad()
        with _autocast(case, recipe.device):
            loss = _objective(network, lq, hq, recipe.loss)
        loss.backward()
        optimizer.step()
        if not isinstance(network, RestorationNetwork):
            loss.item()  # the released loop does both in every step
            if recipe.device == "cuda":
                torch.cuda.empty_cache()

    return run


def _objective(network: nn.Module, lq: Tensor, hq: Tensor, loss: Mapping[str, Any]) -> Tensor:
    if isinstance(network, RestorationNetwork):
        report = network.report(lq)
        image, estimates, balance = report.image, report.estimates, report.balance
    else:  # in training the released AMIR also returns its balance loss
        found = cast(Tensor | tuple[Tensor, Tensor], network(lq))
        image, balance = found if isinstance(found, tuple) else (found, None)
        estimates = ()
    return total(restoration_terms(image, hq, estimates, balance, **loss))
