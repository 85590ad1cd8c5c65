"""Order of the training slices, as a pure function of the position in the sequence.

All ranks share one endless sequence of *slots* 0, 1, 2, ...; the k-th item of rank r is slot
``k * world_size + r``. The b-th batches of all ranks together therefore equal the b-th batch of a
single process with the global batch size. No item depends on earlier ones, so a run can resume at
any k, also in the middle of an epoch.

Three policies distribute the slots over the tasks:

- ``proportional`` (the paper): the slices of all tasks form one pool, which is shuffled again for
  each pass, so a task's share is its share of the slices. The reference implementation drops the
  last partial batch of each pass; here the batch continues into the next pass, so no slice is lost.
- ``balanced``: all tasks have equal shares.
- ``temperature``: the share of a task with n slices is proportional to ``n ** (1 / temperature)``.
  A temperature of 1 gives the shares of the pool, an infinite one gives equal shares.

The last two policies fill shuffled blocks of slots with a fixed quota per task. Each task goes
through permutations of its slices: no slice repeats before all others of its task were drawn.
"""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch.utils.data import Sampler

from amir_lightning.errors import InputError

Policy = Literal["proportional", "balanced", "temperature"]

_BLOCK_LENGTH = 1000  # rounds shares to 0.1 %; equal shares are exact
CROP, POSITIVE_CROP, BRIGHTNESS = 1, 2, 3  # random streams of a draw


class Draw(NamedTuple):
    """One item of the training sequence.

    Attributes:
        index: Position in the concatenation of all tasks' slices.
        counter: Slot, unique within the run; it seeds the random numbers of this item, such as its
            crop (`crop_origin`).
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which is not used here
    counter: int


class MultiTaskSampler(Sampler[Draw]):
    """Endless, stateless sampler of the slices of several tasks.

    Args:
        sizes: Number of slices of each task, in the order of the concatenation.
        policy: How the slots are distributed: proportional, balanced or temperature.
        temperature: Temperature of the temperature policy, > 0; the other policies ignore it.
        seed: Seed of all permutations.
        rank: Rank of this process.
        world_size: Number of processes.
        start: Number of items of this rank to skip. To resume after s optimiser steps with A
            accumulated batches of B items per process: ``s * A * B``.

    Attributes:
        quotas: Slots of each task in a block, for the policies balanced and temperature.

    Raises:
        InputError: No task, a task without slices, or an option out of its range.
    """

    def __init__(
        self,
        sizes: Mapping[str, int] | Sequence[int],
        policy: str = "proportional",
        temperature: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        if not isinstance(sizes, Mapping):
            sizes = {str(position): size for position, size in enumerate(sizes)}
        _check(sizes, policy, temperature, seed, rank, world_size, start)
        self.sizes = [operator.index(size) for size in sizes.values()]
        self.policy = policy
        self.temperature = temperature
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start = start
        self.quotas = _quotas(self.sizes, math.inf if policy == "balanced" else temperature)
        self._offsets = np.cumsum([0, *self.sizes]).tolist()
        self._block_length = sum(self.quotas)
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._permutations: dict[int, tuple[int, np.ndarray]] = {}

    def __iter__(self) -> Iterator[Draw]:
        k = self.start
        while True:
            yield self.item(k)
            k += 1

    def item(self, k: int) -> Draw:
        """The k-th item of this rank, counted from the beginning of training, not from `start`."""
        slot = k * self.world_size + self.rank
        if self.policy == "proportional":
            return Draw(self._shuffled(0, slot, self._offsets[-1]), slot)
        block, position = divmod(slot, self._block_length)
        tasks, occurrences = self._block(block)
        task = int(tasks[position])
        draw = block * self.quotas[task] + int(occurrences[position])
        return Draw(self._offsets[task] + self._shuffled(1 + task, draw, self.sizes[task]), slot)

    def _shuffled(self, stream: int, draw: int, size: int) -> int:
        """Item number `draw` of an endless stream of random permutations of `size` indices."""
        epoch, position = divmod(draw, size)
        # Slots are visited in order, so caching one permutation per stream is enough.
        cached = self._permutations.get(stream)
        if cached is None or cached[0] != epoch:
            rng = np.random.default_rng([self.seed, 0, stream, epoch])
            cached = self._permutations[stream] = (epoch, rng.permutation(size))
        return int(cached[1][position])

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Task of each slot of a block, and how often the task occurs earlier in the block."""
        if block not in self._blocks:
            rng = np.random.default_rng([self.seed, 1, block, 0])
            tasks = rng.permutation(np.repeat(np.arange(len(self.quotas)), self.quotas))
            occurrences = np.empty_like(tasks)
            for task, quota in enumerate(self.quotas):
                occurrences[tasks == task] = np.arange(quota)
            self._blocks = {block: (tasks, occurrences)}
        return self._blocks[block]


def crop_origin(
    seed: int, counter: int, height: int, width: int, size: int, stream: int = CROP
) -> tuple[int, int]:
    """Corner of a random square patch, as a pure function of the seed and the draw's counter.

    Args:
        seed: Seed of the run.
        counter: `Draw.counter`.
        height: Rows of the image.
        width: Columns of the image.
        size: Side of the patch.
        stream: CROP for the patch that is restored, POSITIVE_CROP for the second one.

    Returns:
        Top row and left column, uniform over all positions inside the image.

    Raises:
        InputError: The image is smaller than the patch.
    """
    if min(height, width) < size:
        fitting = min(height, width)
        raise InputError(
            f"an image is {height}x{width} pixels, smaller than the patch of {size}x{size}; "
            f"type data.patch_size={fitting // 8 * 8 or fitting}"
        )
    rng = _generator(seed, counter, stream)
    return int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))


def brightness_factor(seed: int, counter: int, limits: Sequence[float]) -> float:
    """Random factor for the values of a patch, as a pure function of the seed and the counter.

    Args:
        seed: Seed of the run.
        counter: `Draw.counter`.
        limits: Smallest and largest factor; each ratio between them has the same chance.
    """
    low, high = limits
    return float(low * (high / low) ** _generator(seed, counter, BRIGHTNESS).random())


def _generator(seed: int, counter: int, stream: int) -> np.random.Generator:
    # Philox increments the low word of its counter for each random number of a draw. The other
    # words identify the draw, so the streams of two draws never overlap.
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, stream, counter, 0]))


def _quotas(sizes: Sequence[int], temperature: float) -> list[int]:
    """Slots of each task in a block, at least one, rounded by the largest remainder method.

    The quotas are divided by their greatest common divisor to make blocks short.
    """
    logs = np.log(sizes)
    weights = np.exp((logs - logs.max()) / temperature)  # no overflow for any temperature
    length = -(-_BLOCK_LENGTH // len(sizes)) * len(sizes)  # makes equal shares exact
    exact = weights / weights.sum() * length
    quotas = np.floor(exact).astype(int)
    largest_first = np.argsort(quotas - exact, kind="stable")
    quotas[largest_first[: length - quotas.sum()]] += 1
    for task in np.flatnonzero(quotas == 0):  # every task gets a slot
        quotas[task] += 1
        quotas[quotas.argmax()] -= 1
    return (quotas // np.gcd.reduce(quotas)).tolist()


def _check(
    sizes: Mapping[str, int],
    policy: str,
    temperature: float,
    seed: int,
    rank: int,
    world_size: int,
    start: int,
) -> None:
    if not sizes:
        raise InputError("there is no task to sample; choose at least one, e.g. task=mri+ct+pet")
    for name, size in sizes.items():
        if size < 1:
            raise InputError(
                f"task {name} has {size} training slices, expected at least one; prepare its data "
                f"with python -m amir_lightning.prepare task={name} raw_dir=<folder>"
            )
    if policy not in get_args(Policy):
        raise InputError(
            f"unknown sampling policy '{policy}'; choose sampling={', '.join(get_args(Policy))}"
        )
    if not (isinstance(temperature, Real) and temperature > 0):
        raise InputError(
            f"sampling.temperature is {temperature}, expected a number above 0; "
            "type e.g. sampling.temperature=2"
        )
    if seed < 0 or start < 0:
        raise InputError(f"seed is {seed} and start is {start}, expected two numbers from 0 on")
    if not 0 <= rank < world_size:
        raise InputError(
            f"rank is {rank}, expected a number from 0 to below {world_size} processes"
        )
