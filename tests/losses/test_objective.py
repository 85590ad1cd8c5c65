import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from amir_lightning.losses import Term, restoration_terms, total
from amir_lightning.losses.objective import edge_distance


def test_equation_5() -> None:
    restored, hq = torch.rand(2, 1, 4, 5), torch.rand(2, 1, 4, 5)
    terms = restoration_terms(restored, hq, balance=torch.tensor(3.0), balance_weight=0.5)
    assert list(terms) == ["l1", "balance"]
    torch.testing.assert_close(total(terms), (restored - hq).abs().mean() + 0.5 * 3.0)


def test_a_network_without_routing_has_no_balance_term() -> None:
    image = torch.rand(1, 1, 4, 4)
    assert list(restoration_terms(image, image, balance_weight=0.5)) == ["l1"]


@pytest.mark.parametrize("name", ["l1", "mse", "charbonnier"])
def test_distances(name: str) -> None:
    restored, hq = torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    differences = (restored - hq).flatten().tolist()
    expected = {
        "l1": [abs(d) for d in differences],
        "mse": [d * d for d in differences],
        "charbonnier": [math.sqrt(d * d + 1e-9) for d in differences],
    }[name]
    value = restoration_terms(restored, hq, distance=name)[name].value
    torch.testing.assert_close(float(value), sum(expected) / len(expected), rtol=1e-5, atol=0)


def test_earlier_estimates_count_as_a_sum() -> None:
    hq = torch.zeros(1, 1, 2, 2)
    terms = restoration_terms(hq + 1, hq, [hq + 2, hq + 3], image_weight=10, estimate_weight=100)
    assert total(terms) == 10 * 1 + 100 * (2 + 3)


def test_edge_distance_is_that_of_four_sobel_responses() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 1, 9, 7, generator=generator) for _ in range(2))
    difference = (a - b).numpy().astype(np.float64)
    diagonal = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]])
    responses = []
    for image in difference[:, 0]:
        for axis in (0, 1):
            responses.append(ndimage.sobel(image, axis=axis))
        for kernel in (diagonal, diagonal[:, ::-1]):
            responses.append(ndimage.correlate(image, kernel))
    expected = np.abs(np.stack(responses)[:, 1:-1, 1:-1]).mean()
    assert float(edge_distance(a, b)) == pytest.approx(expected, rel=1e-5)
    assert edge_distance(a, a + 0.3) < 1e-5  # a constant offset has no edge


def test_a_term_without_weight_is_logged_and_not_trained() -> None:
    value = torch.ones((), requires_grad=True)
    total({"a": Term(0.0, value), "b": Term(2.0, value)}).backward()
    assert value.grad == 2
