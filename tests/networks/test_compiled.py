"""compile() changes how fast a training pass is and nothing else."""

import copy

import pytest
import torch
from torch import Tensor, fx

from amir_lightning.networks import AMIR, DCNN, AirNet, Report, RestorationNetwork, Restormer
from amir_lightning.networks.compiled import _tensors, _with_tensors

SIZES = {"width": 8, "depths": (1, 2, 1, 1), "refinement_depth": 1}
SHAPE = (2, 1, 32, 40)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


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
    network: RestorationNetwork, device: str = "cpu", precision: str = "float32"
) -> tuple[list[float], list[dict[str, Tensor]]]:
    """Losses and gradients of three steps."""
    network.to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    random = torch.Generator().manual_seed(1)
    losses, gradients = [], []
    for step in range(3):
        lq, hq = (torch.rand(SHAPE, generator=random).to(device) for _ in range(2))
        draw(network, lq, step)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            report = network.report(lq)
            loss = (report.image - hq).abs().mean()
            if report.balance is not None:
                loss = loss + report.balance
        loss.backward()
        given = network.named_parameters()
        gradients.append({n: one.grad.clone() for n, one in given if one.grad is not None})
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, gradients


def assert_same(found: tuple, expected: tuple, tolerance: float) -> None:
    """Losses, and gradients relative to their own size."""
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        assert ours.keys() == theirs.keys()
        for name, one in theirs.items():
            assert (ours[name] - one).norm() <= tolerance * one.norm() + 1e-6, name


@pytest.mark.parametrize(
    "build", [amir, lambda: Restormer(**SIZES), lambda: AirNet(width=8, num_groups=1, num_blocks=1)]
)  # type: ignore[arg-type]
def test_the_same_training_under_the_same_names(build) -> None:
    torch.manual_seed(0)
    plain, fast = build(), build()
    fast.load_state_dict(plain.state_dict())
    backend = Counting()
    fast.compile(backend=backend)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert_same(train(fast), train(plain), 1e-3)
    assert backend.runs


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
    network.report(torch.rand(1, 1, 24, 24))
    with network.as_written():
        network.report(lq)
    copy.deepcopy(network).report(lq)
    assert backend.runs == ran
    network.report(lq)
    assert backend.runs == 2 * ran


def test_activation_checkpointing_of_compiled_blocks() -> None:
    plain, fast, backend = amir(), amir(), Counting()
    plain.compile(backend=Counting())
    expected = train(plain)
    fast.compile(backend=backend)
    fast.recompute(1)
    assert_same(train(fast), expected, 1e-3)
    blocks, finest = 2 * (1 + 2 + 1) + 1 + 1, 3
    assert backend.runs == 3 * (blocks + finest)


@pytest.mark.parametrize("build", [amir, lambda: DCNN(width=8)])  # type: ignore[arg-type]
def test_restoring_is_compiled_for_shapes_that_come_again(build) -> None:
    torch.manual_seed(0)
    network = build().eval()
    lq, other = torch.rand(2, 1, 30, 40), torch.rand(1, 1, 24, 24)
    backend = Counting()
    with torch.inference_mode():
        expected = network(lq), network(other)
        network.compile_restoring(backend=backend, fullgraph=True)
        for image, own in zip((lq, other), expected, strict=True):
            torch.testing.assert_close(network(image), own, rtol=0, atol=1e-6)
        assert not backend.runs
        torch.testing.assert_close(network(lq), expected[0], rtol=0, atol=1e-5)
        again = backend.runs
        assert again
        with torch.autocast("cpu", torch.bfloat16):  # has not come before
            network(lq)
        assert backend.runs == again
        assert torch.equal(network.report(lq).image, network(lq))
        assert backend.runs == 3 * again
        with network.as_written():
            torch.testing.assert_close(network(lq), expected[0], rtol=0, atol=1e-6)
    assert backend.runs == 3 * again
    filters = [one for one in network.parameters() if one.ndim == 4 and min(one.shape) > 1]
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in filters)


@cuda
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bf16", 5e-2)])
def test_replayed_restoring_is_the_same(precision: str, tolerance: float) -> None:
    network = amir().eval().to("cuda")
    sizes = [(1, 1, 32, 40), (2, 1, 32, 40), (1, 1, 24, 24)]
    network.compile_restoring(backend=Counting())
    flags = torch.backends.cudnn.flags(allow_tf32=False)
    with (
        torch.inference_mode(),
        flags,
        torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"),
    ):
        for _ in range(3):
            for size in sizes:
                lq = torch.rand(size, device="cuda")
                found = network(lq)
                with network.as_written():
                    torch.testing.assert_close(found, network(lq), rtol=0, atol=tolerance)
        network.load_state_dict({name: one / 2 for name, one in network.state_dict().items()})
        found = network(lq)
        with network.as_written():
            torch.testing.assert_close(found, network(lq), rtol=0, atol=tolerance)
        network.cpu().to("cuda")  # to other places
        assert torch.isfinite(network(lq)).all()


@cuda
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 5e-3), ("bf16", 5e-2)])
@pytest.mark.parametrize("levels", [0, 4])
def test_a_replayed_training_is_the_same(precision: str, tolerance: float, levels: int) -> None:
    plain, fast = amir(), amir()
    for one in (plain, fast):
        one.recompute(levels)
    fast.compile(replays=True, backend=Counting())
    assert_same(train(fast, "cuda", precision), train(plain, "cuda", precision), tolerance)
    assert fast.trace._recorded is not None  # type: ignore[attr-defined]


@cuda
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
        draw(network, lq[:1], step)  # other noise at another place
        network.report(lq[:1])
    assert balances[0] == balances[2]
    assert balances[0] != balances[1]


@cuda
def test_weights_that_moved_are_recorded_anew() -> None:
    network = amir()
    network.compile(replays=True, backend=Counting())
    first = train(network, "cuda")
    for _ in range(2):
        network.cpu().load_state_dict(amir().state_dict())
        assert_same(train(network, "cuda"), first, 5e-3)


@cuda
def test_a_recording_leaves_generators_and_statistics_alone() -> None:
    network = DCNN(width=8).to("cuda").train()
    network.compile(replays=True, backend=Counting())
    torch.manual_seed(3)
    before = torch.cuda.get_rng_state()
    network.report(torch.rand(SHAPE, device="cuda"))
    counts = [one for name, one in network.named_buffers() if "num_batches_tracked" in name]
    assert counts
    assert all(int(one) == 1 for one in counts)
    after = torch.rand(3, device="cuda")
    torch.cuda.set_rng_state(before)
    torch.rand(SHAPE, device="cuda")
    assert torch.equal(after, torch.rand(3, device="cuda"))


@cuda
def test_a_gpu_computes_what_a_cpu_computes() -> None:
    network, lq = amir().eval(), torch.rand(SHAPE)
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        torch.testing.assert_close(network.to("cuda")(lq.cuda()).cpu(), network.cpu()(lq))


def test_what_a_pass_returns_is_taken_apart_and_put_together() -> None:
    one, two, three = (torch.full((), float(n)) for n in range(3))
    report = Report(one, gates=(two, three))
    assert _tensors(report) == [one, two, three]
    assert _with_tensors(report, [three, two, one]) == Report(three, gates=(two, one))
