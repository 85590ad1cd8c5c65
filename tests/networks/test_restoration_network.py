import pytest
import torch
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.networks import SRCNN, Report, RestorationNetwork, Restormer
from amir_lightning.networks.layers.blocks import Stage


class Recorder(RestorationNetwork):
    """The identity, which remembers what it was given."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.size_multiple = multiple

    def restore(self, lq: Tensor) -> Tensor:
        self.seen = lq
        return lq


class Idle(RestorationNetwork):
    """Writes neither method."""


class Traced(RestorationNetwork):
    """Writes the one that says more."""

    def trace(self, lq: Tensor) -> Report:
        return Report(2 * lq, (lq,))


def test_each_method_serves_for_both_and_one_has_to_be_there() -> None:
    lq = torch.rand(1, 1, 9, 11)
    assert torch.equal(Traced()(lq), 2 * lq)
    assert torch.equal(Recorder(8).report(lq).image, lq)
    with pytest.raises(
        InputError, match=r"test_restoration_network\.Idle does not say .* restore\(self"
    ):
        Idle()


@pytest.mark.parametrize("size", [(9, 9), (33, 47), (16, 24), (17, 64)])
def test_any_size_comes_back_unchanged(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 1, *size)
    network = Recorder(8)
    assert torch.equal(network(lq), lq)
    assert all(side % 8 == 0 for side in network.seen.shape[-2:])
    assert all(
        padded - side < 8 for padded, side in zip(network.seen.shape[-2:], size, strict=True)
    )


def test_a_size_that_fits_is_not_copied() -> None:
    lq = torch.rand(1, 1, 16, 24)
    network = Recorder(8)
    network(lq)
    assert network.seen is lq


def test_border_is_reflected_where_possible_and_else_replicated() -> None:
    ramp = torch.arange(10.0).expand(1, 1, 16, 10)
    reflected = Recorder(16)
    reflected(ramp)
    assert reflected.seen[0, 0, 0].tolist() == [*range(10), 8, 7, 6, 5, 4, 3]
    replicated = Recorder(32)
    replicated(ramp)
    assert replicated.seen[0, 0, 0].tolist() == [*range(10), *[9] * 22]
    assert replicated.seen.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("shape", [(1, 1, 8, 64), (1, 1, 64, 8)])
def test_too_small_an_image_is_refused_with_its_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"{shape[2]}x{shape[3]} pixels, expected at least 9x9"):
        Recorder(8)(torch.rand(shape))


def test_a_missing_batch_dimension_is_named() -> None:
    with pytest.raises(InputError, match=r"\(16, 16\), expected \(B, C, H, W\)"):
        Recorder(8)(torch.rand(16, 16))


def test_recomputing_levels_leaves_gradients_as_they_are() -> None:
    torch.manual_seed(0)
    network = Restormer(width=8, depths=(1, 1, 1, 1), refinement_depth=1)
    lq = torch.rand(1, 1, 16, 16)
    expected = torch.autograd.grad(network(lq).sum(), network.parameters())
    network.recompute(2)
    stages = [module for module in network.modules() if isinstance(module, Stage)]
    assert [stage.recomputed for stage in stages] == [stage.level <= 2 for stage in stages]
    found = torch.autograd.grad(network(lq).sum(), network.parameters())
    assert all(map(torch.equal, found, expected))


def test_recomputing_what_has_no_levels_is_refused() -> None:
    with pytest.raises(InputError, match="recompute=1 is unknown to SRCNN"):
        SRCNN().recompute(1)
    with pytest.raises(InputError, match="recompute is -1"):
        SRCNN().recompute(-1)
