"""torch.compile changes how fast a network runs and nothing else."""

import torch
from torch import fx

from amir_lightning.networks import AMIR, RestorationNetwork, Restormer

SIZES = {"width": 8, "depths": (1, 1, 1, 1), "refinement_depth": 1}


def test_forward_and_route_run_the_compiled_graph() -> None:
    for build in (AMIR, Restormer):
        torch.manual_seed(0)
        network: RestorationNetwork = build(**SIZES).eval()  # type: ignore[arg-type]
        names = list(network.state_dict())
        lq = torch.rand(1, 1, 33, 40)
        with torch.no_grad():
            expected = network(lq)
        graphs = []

        def backend(graph: fx.GraphModule, inputs: list[torch.Tensor]) -> object:
            graphs.append(graph)  # noqa: B023
            return graph.forward

        network.compile(backend=backend)
        with torch.no_grad():
            restored = network.report(lq).image if isinstance(network, AMIR) else network(lq)
        assert graphs
        # Eager inference on a CPU fuses convolutions, which sum in another order.
        torch.testing.assert_close(restored, expected, atol=1e-5, rtol=1e-5)
        assert list(network.state_dict()) == names
