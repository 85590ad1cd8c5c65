"""Order of the training slices: stateless, with exact shares, equal for all world sizes."""

import math
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset

from amir_lightning.data.datamodule import LoadingOptions
from amir_lightning.data.sampler import Draw, MultiTaskSampler, brightness_factor, crop_origin
from amir_lightning.errors import InputError

SIZES = {"mri": 53, "ct": 7, "pet": 20}
POLICIES = ["proportional", "balanced", "temperature"]
CONF = Path(__file__).parents[2] / "conf" / "sampling"


def sampler(policy: str = "proportional", **changes: Any) -> MultiTaskSampler:
    options = {"sizes": SIZES, "policy": policy, "temperature": 2.0, "seed": 5, **changes}
    return MultiTaskSampler(**options)


def task_of(draw: Draw) -> str:
    ends = np.cumsum(list(SIZES.values()))
    return list(SIZES)[int(np.searchsorted(ends, draw.index, side="right"))]


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_depends_on_its_position_alone(policy: str) -> None:
    sequence = list(islice(sampler(policy), 600))
    shuffled = np.random.default_rng(0).permutation(600)
    visited = sampler(policy)
    assert [visited.item(int(k)) for k in shuffled] == [sequence[k] for k in shuffled]
    assert list(islice(visited, 600)) == sequence
    assert [draw.counter for draw in sequence] == list(range(600))
    assert {draw.index for draw in sequence} == set(range(80))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("start", [1, 37, 80, 1003])
def test_resuming_continues_the_sequence(policy: str, start: int) -> None:
    whole = list(islice(sampler(policy), start + 50))
    assert list(islice(sampler(policy, start=start), 50)) == whole[start:]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_the_processes_together_draw_the_batches_of_one(policy: str, world_size: int) -> None:
    batch, start = 4, 8
    alone = islice(sampler(policy, start=start * world_size), 30 * batch * world_size)
    ranks = [
        islice(sampler(policy, rank=rank, world_size=world_size, start=start), 30 * batch)
        for rank in range(world_size)
    ]
    for _ in range(30):
        union = [draw for rank in ranks for draw in islice(rank, batch)]
        assert sorted(union) == sorted(islice(alone, batch * world_size))


def test_proportional_draws_every_slice_once_per_epoch() -> None:
    indices = [draw.index for draw in islice(sampler(), 3 * 80)]
    epochs = [indices[:80], indices[80:160], indices[160:]]
    assert all(sorted(epoch) == list(range(80)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("policy", POLICIES)
def test_no_slice_repeats_before_its_task_is_exhausted(policy: str) -> None:
    draws = list(islice(sampler(policy), 2000))
    for task, size in SIZES.items():
        own = [draw.index for draw in draws if task_of(draw) == task]
        for begin in range(0, len(own) - size, size):
            assert len(set(own[begin : begin + size])) == size


def test_balanced_shares_every_block_equally() -> None:
    draws = list(islice(sampler("balanced"), 300))
    for begin in range(0, 300, 3):
        assert {task_of(draw) for draw in draws[begin : begin + 3]} == set(SIZES)
    orders = {tuple(map(task_of, draws[begin : begin + 3])) for begin in range(0, 300, 3)}
    assert len(orders) == 6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0, math.inf])
def test_temperature_shares(temperature: float) -> None:
    weights = np.array(list(SIZES.values())) ** (1 / temperature)
    tempered = sampler("temperature", temperature=temperature)
    block = sum(tempered.quotas)
    np.testing.assert_allclose(
        np.array(tempered.quotas) / block, weights / weights.sum(), atol=1e-3
    )
    draws = list(islice(tempered, 3 * block))
    for begin in range(0, 3 * block, block):
        count = Counter(task_of(draw) for draw in draws[begin : begin + block])
        assert [count[task] for task in SIZES] == tempered.quotas


def test_temperature_lies_between_the_other_policies() -> None:
    assert sampler("temperature", temperature=math.inf).quotas == [1, 1, 1]
    assert sampler("temperature", sizes=[30, 20, 10], temperature=1).quotas == [3, 2, 1]
    assert sampler("temperature", sizes=[900, 100], temperature=2).quotas == [3, 1]
    infinite = islice(sampler("temperature", temperature=math.inf), 50)
    assert list(infinite) == list(islice(sampler("balanced"), 50))


@pytest.mark.parametrize("temperature", [1e-9, 1.0, 1e9])
def test_no_task_starves_and_no_temperature_overflows(temperature: float) -> None:
    lopsided = sampler("temperature", sizes=[1, 10**9, 3], temperature=temperature)
    assert min(lopsided.quotas) >= 1
    assert len(lopsided.quotas) == 3


@pytest.mark.parametrize("policy", POLICIES)
def test_one_task_alone(policy: str) -> None:
    draws = list(islice(sampler(policy, sizes={"ct": 7}), 70))
    for begin in range(0, 70, 7):
        assert {draw.index for draw in draws[begin : begin + 7]} == set(range(7))


@pytest.mark.parametrize("policy", POLICIES)
def test_seeds_differ(policy: str) -> None:
    sequences = [list(islice(sampler(policy, seed=seed), 30)) for seed in (0, 1, 0)]
    assert sequences[0] == sequences[2]
    assert sequences[0] != sequences[1]


def test_a_golden_sequence() -> None:
    golden = {
        "proportional": [30, 72, 47, 29, 4, 70, 38, 66],
        "balanced": [19, 75, 59, 55, 39, 68, 57, 66],
        "temperature": [19, 39, 18, 13, 27, 37, 52, 45],
    }
    for policy, indices in golden.items():
        assert [draw.index for draw in islice(sampler(policy), 8)] == indices
    crops = [crop_origin(5, counter, 40, 60, 16) for counter in range(4)]
    assert crops == [(0, 41), (24, 12), (0, 26), (12, 41)]


class Echo(Dataset):
    def __getitem__(self, draw: Draw) -> tuple[int, int]:
        return draw.index, draw.counter


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_loader_keeps_the_order(num_workers: int) -> None:
    loader = DataLoader(
        Echo(), batch_size=4, sampler=sampler("balanced", start=6), num_workers=num_workers
    )
    batches = list(islice(loader, 5))
    indices = np.concatenate([index.numpy() for index, _ in batches])
    counters = np.concatenate([counter.numpy() for _, counter in batches])
    expected = list(islice(sampler("balanced", start=6), 20))
    assert list(zip(indices.tolist(), counters.tolist(), strict=True)) == expected


def test_crops_are_uniform_and_reach_all_borders() -> None:
    crops = Counter(crop_origin(0, counter, 11, 9, 8) for counter in range(4000))
    assert set(crops) == {(top, left) for top in range(4) for left in range(2)}
    expected = 4000 / 8
    chi_squared = sum((count - expected) ** 2 / expected for count in crops.values())
    assert chi_squared < 24.3  # 99.9 % of 7 degrees of freedom
    assert crop_origin(0, 3, 8, 8, 8) == (0, 0)


def test_crops_depend_on_seed_and_counter() -> None:
    crops = [crop_origin(0, counter, 512, 512, 128) for counter in range(50)]
    assert crops == [crop_origin(0, counter, 512, 512, 128) for counter in range(50)]
    assert crops != [crop_origin(1, counter, 512, 512, 128) for counter in range(50)]
    assert len(set(crops)) == 50
    assert abs(np.corrcoef(np.transpose(crops))[0, 1]) < 0.5


def test_each_ratio_of_brightness_has_the_same_chance() -> None:
    factors = [brightness_factor(3, counter, (0.5, 2.0)) for counter in range(4000)]
    quartiles = np.quantile(factors, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, [0.5, 0.5**0.5, 1, 2**0.5, 2], rtol=0.04)
    assert factors[7] == brightness_factor(3, 7, (0.5, 2.0))
    assert factors[7] != brightness_factor(4, 7, (0.5, 2.0))
    assert brightness_factor(3, 7, (1.0, 1.0)) == 1


def test_an_image_smaller_than_the_patch() -> None:
    with pytest.raises(InputError, match=r"96x80 pixels.*128x128; type data.patch_size=80"):
        crop_origin(0, 0, 96, 80, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {}}, "no task"),
        ({"sizes": {"ct": 0, "pet": 3}}, "task ct has 0 training slices"),
        ({"policy": "fair"}, "'fair'; choose sampling=proportional, balanced, temperature"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": "hot"}, "temperature is hot"),
        ({"seed": -1}, "seed is -1"),
        ({"start": -1}, "start is -1"),
        ({"rank": 2, "world_size": 2}, "rank is 2"),
        ({"rank": 0, "world_size": 0}, "rank is 0"),
    ],
)
def test_mistakes_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampler(**options)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_configuration_files(policy: str) -> None:
    config = OmegaConf.load(CONF / f"{policy}.yaml")
    assert set(config) == {"policy", "temperature"}
    assert config.policy == policy
    MultiTaskSampler(SIZES, **config)


@pytest.mark.parametrize(
    "typed", [0.5, "a", [], [0.5], ["a", "b"], [0, 1], [1, 0.5], [0.5, 1, 2], [0.5, math.inf]]
)
def test_brightness_is_two_increasing_factors(typed: Any) -> None:
    with pytest.raises(InputError, match="expected two increasing factors above 0; type data.br"):
        LoadingOptions(patch_size=32, batch_size=1, brightness=typed)
    assert LoadingOptions(patch_size=32, batch_size=1, brightness=[0.5, 0.5])
