"""compile() changes how fast a training pass is and nothing else."""

import pytest
import torch
from torch import Tensor, fx

from amir_lightning.networks import AMIR, AirNet, RestorationNetwork, Restormer

SIZES = {"width": 8, "depths": (1, 2, 1, 1), "refinement_depth": 1}
SHAPE = (2, 1, 32, 40)


def amir(**options: object) -> AMIR:
    torch.manual_seed(0)
    return AMIR(**SIZES, **options)  # type: ignore[arg-type]


class Counting:
    """Runs graphs as they are, and counts."""

    def __init__(self) -> None:
        self.graphs: list[fx.GraphModule] = []
        self.runs = 0

    def __call__(self, graph: fx.GraphModule, _inputs: list[Tensor]) -> object:
        self.graphs.append(graph)

        def run(*values: object) -> object:
            self.runs += 1
            return graph.forward(*values)

        return run


def draw(network: RestorationNetwork, lq: Tensor, step: int) -> None:
    seeds = range(step, step + len(lq))
    network.draw_noise(lq, [torch.Generator(lq.device).manual_seed(seed) for seed in seeds])


def train(
    network: RestorationNetwork, device: str = "cpu", steps: int = 3, precision: str = "float32"
) -> tuple[list[float], dict[str, Tensor]]:
    """Losses, and the weights in the end."""
    network.to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    random, losses = torch.Generator().manual_seed(1), []
    for step in range(steps):
        lq, hq = (torch.rand(SHAPE, generator=random).to(device) for _ in range(2))
        draw(network, lq, step)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            report = network.report(lq)
            loss = (report.image - hq).abs().mean()
            if report.balance is not None:
                loss = loss + report.balance
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, {name: one.detach().cpu() for name, one in network.state_dict().items()}


@pytest.mark.parametrize(
    "build", [amir, lambda: Restormer(**SIZES), lambda: AirNet(width=8, num_groups=1, num_blocks=1)]
)  # type: ignore[arg-type]
def test_the_same_training_under_the_same_names(build) -> None:
    torch.manual_seed(0)
    plain, fast = build(), build()
    fast.load_state_dict(plain.state_dict())
    backend = Counting()
    fast.compile(backend=backend)
    (losses, weights), (expected, expected_weights) = train(fast), train(plain)
    assert backend.runs
    assert losses == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights, expected_weights, atol=1e-4, rtol=1e-4)


def test_blocks_of_one_shape_share_what_was_compiled_and_no_graph_breaks() -> None:
    torch._dynamo.reset()
    network, backend = amir().train(), Counting()
    network.compile(backend=backend, fullgraph=True)
    network.report(torch.rand(SHAPE))
    blocks = 2 * (1 + 2 + 1) + 1 + 1
    assert backend.runs == blocks
    # Levels 1 to 4, and the double width of decoder1 and refinement.
    assert len(backend.graphs) == 5


def test_evaluation_and_other_shapes_run_as_written() -> None:
    network, backend = amir(), Counting()
    network.compile(backend=backend)
    lq = torch.rand(SHAPE)
    with torch.no_grad():
        network.eval().report(lq)
        network(lq)
    assert not backend.runs
    network.train().report(lq)
    ran = backend.runs
    assert ran
    for gate in network.modules():
        if hasattr(gate, "noise"):
            gate.noise = None
    network.report(torch.rand(1, 1, 24, 24))
    with network.as_written():
        network.report(lq)
    assert backend.runs == ran
    network.report(lq)
    assert backend.runs == 2 * ran


def test_activation_checkpointing_of_compiled_blocks() -> None:
    plain, fast = amir(), amir()
    for one in (plain, fast):
        one.recompute(4)
    fast.compile(backend=Counting())
    torch.testing.assert_close(train(fast), train(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("levels", [0, 4])
def test_a_replayed_training_is_the_same(precision: str, levels: int) -> None:
    plain, fast = amir(), amir()
    for one in (plain, fast):
        one.recompute(levels)
    fast.compile(replays=True, backend=Counting())
    found = train(fast, "cuda", 3, precision)
    expected = train(plain, "cuda", 3, precision)
    tolerance = 1e-3 if precision == "float32" else 5e-2
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    lq = torch.rand(SHAPE, device="cuda")
    with torch.no_grad():
        torch.testing.assert_close(
            fast.eval()(lq), plain.eval()(lq), atol=tolerance, rtol=tolerance
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_the_noise_of_each_step_reaches_the_recording() -> None:
    network = amir().to("cuda").train()
    network.compile(replays=True, backend=Counting())
    lq = torch.rand(SHAPE, device="cuda")
    balances = []
    for step in (0, 1, 0):
        draw(network, lq, step)
        balance = network.report(lq).balance
        assert balance is not None
        balances.append(float(balance.detach()))
    assert balances[0] == balances[2]
    assert balances[0] != balances[1]
