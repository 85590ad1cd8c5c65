"""Drawn parameters: functions of seed and name, recorded as they are used."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from amir_lightning.degradation import (
    Degradation,
    KSpaceCrop,
    LogUniform,
    LowCount,
    LowDose,
    Motion,
    OneOf,
    RicianNoise,
    SparseView,
    Undersampling,
    Uniform,
    drawn_for,
    fixed_for,
)
from amir_lightning.degradation.parameters import value_of
from amir_lightning.errors import InputError

SEEDS = range(4000)


def test_draws_are_distributed_as_they_say() -> None:
    flat = torch.tensor([value_of(Uniform(2, 6), "x", seed) for seed in SEEDS])
    assert flat.min() >= 2
    assert flat.max() < 6
    assert flat.mean().item() == pytest.approx(4, abs=0.06)
    assert flat.std().item() == pytest.approx(4 / 12**0.5, rel=0.03)
    ratios = torch.tensor([value_of(LogUniform(4, 100), "x", seed) for seed in SEEDS])
    assert ((ratios >= 4) & (ratios < 100)).all()
    assert (ratios < 20).float().mean().item() == pytest.approx(0.5, abs=0.03)  # sqrt(4 * 100)
    picked = torch.tensor([value_of(OneOf((4, 8)), "x", seed) for seed in SEEDS])
    assert set(picked.tolist()) == {4, 8}
    assert (picked == 8).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_draw_depends_on_seed_and_name_alone() -> None:
    one, other = (
        torch.tensor([value_of(Uniform(0, 1), name, seed) for seed in SEEDS])
        for name in ("shift_mm", "degrees")
    )
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.05
    assert value_of(Uniform(0, 1), "dose", 7) == value_of(Uniform(0, 1), "dose", 7)
    assert value_of(Uniform(0, 1), "dose", 2**62) < 1  # seeds of patients have 63 bits
    assert value_of(0.25, "dose", 7) == 0.25


@pytest.mark.parametrize("method", ["degrade", "acquire"])
def test_a_drawn_dose_is_the_same_scan_as_the_recorded_number(method: str) -> None:
    blind = LowDose(LogUniform(0.05, 0.25), 1e5, 5.0, "hann")
    (name, dose), *rest = drawn_for(blind, 3).items()
    assert (name, rest) == ("dose", [])
    known = LowDose(dose, 1e5, 5.0, "hann")
    assert fixed_for(blind, 3) == known
    assert drawn_for(known, 3) == {}
    assert fixed_for(known, 3) is known
    image = torch.zeros(1, 24, 24)
    found, expected = (getattr(one, method)(image, (2.0, 2.0, 2.0), 3) for one in (blind, known))
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)


COUNTS = {"background": 0.3, "iterations": 2, "subsets": 3, "fwhm_mm": 5.0}
SOME = LogUniform(5e4, 4e5)


@pytest.mark.parametrize(
    ("blind", "name"),
    [
        (LowCount(reduction=LogUniform(4, 100), counts_per_slice=1e5, **COUNTS), "reduction"),
        (LowCount(reduction=12, counts_per_slice=SOME, **COUNTS), "counts_per_slice"),
        (LowDose(0.25, SOME, 5.0, "hann"), "photons"),
        (SparseView(12, SOME, 5.0, "hann"), "photons"),
        (KSpaceCrop(4, LogUniform(8, 30)), "noise"),
        (Undersampling(4, 0.08, 4.0, LogUniform(8, 30)), "noise"),
        (RicianNoise(60.0, LogUniform(8, 30)), "noise"),
        (Motion(2, 3.0, 2.0, LogUniform(8, 30)), "noise"),
    ],
)
def test_drawn_noise_is_the_same_scan_as_the_recorded_number(blind: Degradation, name: str) -> None:
    known = fixed_for(blind, 5)
    assert drawn_for(blind, 5) == {name: getattr(known, name)}
    other = fixed_for(blind, 6)
    activity = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    spacing = (4.0, 4.0, 4.0)
    first, second, third = (one.acquire(activity, spacing, 5) for one in (blind, known, other))
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first[0], third[0])  # LQ follows the number
    assert torch.equal(blind.degrade(activity, spacing, 5), known.degrade(activity, spacing, 5))


def test_own_physics_draws_if_it_is_a_dataclass() -> None:
    @dataclass(frozen=True)
    class Own:
        strength: float | Uniform
        name: str = "mine"

    class Plain:
        def degrade(self, hq: Tensor) -> Tensor:
            return hq

    assert drawn_for(Own(Uniform(1, 2)), 0) == {"strength": value_of(Uniform(1, 2), "strength", 0)}
    plain = Plain()
    assert drawn_for(plain, 0) == {}
    assert fixed_for(plain, 0) is plain


def test_impossible_draws_are_refused() -> None:
    with pytest.raises(InputError, match=r"low=0\.3 and high=0\.1, expected two increasing"):
        Uniform(0.3, 0.1)
    with pytest.raises(InputError, match="above 0"):
        LogUniform(0, 0.25)
    with pytest.raises(InputError, match="values is empty"):
        OneOf(())
    for typed in ("x", None, True, float("nan"), float("inf"), OneOf((4, "x"))):  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected a finite number"):
            RicianNoise(typed, 0.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"photons is 0 .*expected photons above 0"):
        LowDose(0.25, OneOf((1e5, 0)), 5.0, "hann")
    with pytest.raises(InputError, match=r"counts_per_slice is .*expected more than 0"):
        LowCount(reduction=12, counts_per_slice=Uniform(-1, 5), **COUNTS)
    with pytest.raises(InputError, match=r"dose is .*1\.5.*fraction between 0 and 1"):
        LowDose(Uniform(0.5, 1.5), 1e5, 5.0, "hann")
