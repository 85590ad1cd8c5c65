"""Which training slice comes when: an endless order that is a pure function of the slot.

All processes together walk through one sequence of *slots* 0, 1, 2, ...; the k-th item of rank r is
slot ``k * world_size + r``. The b-th batches of all ranks together are therefore exactly the b-th
batch that a single process with the global batch size draws. Nothing depends on what was drawn
before: resuming means starting at another k, in the middle of an epoch or not.

Three policies share the slots among the tasks:

- ``proportional`` (the paper): one pool of all slices, shuffled anew each time it is exhausted, so
  that tasks count by their number of slices. The reference implementation drops the last partial
  batch of each pass; here a batch runs on into the next pass and no slice is ever left out.
- ``balanced``: equal shares.
- ``temperature``: the share of a task with n slices is proportional to ``n ** (1 / temperature)``,
  from the shares of the pool (1) to equal ones (infinity).

The last two fill shuffled blocks of slots with a fixed quota per task, and each task runs through
permutations of its own slices: no slice repeats before all others of its task were drawn.
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

# Shares are met to 0.1 %, exactly when they are equal.
_BLOCK_LENGTH = 1000
# Random words of a draw that tell its crops apart.
CROP, POSITIVE_CROP = 1, 2


class Draw(NamedTuple):
    """One item of the training sequence.

    Attributes:
        index: Position in the concatenation of all tasks' slices.
        counter: Global slot, unique in the whole run: the counter for whatever is random about this
            item, such as its crop (`crop_origin`).
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a draw
    counter: int


class MultiTaskSampler(Sampler[Draw]):
    """An endless, stateless order of the slices of several tasks.

    Args:
        sizes: Number of slices of each task, in the order of the concatenation.
        policy: How tasks share the slots: proportional, balanced or temperature.
        temperature: Exponent of the temperature policy, > 0; the other policies ignore it.
        seed: Seed of all permutations.
        rank: This process.
        world_size: Number of processes.
        start: Items of this rank to skip. To resume after s optimiser steps with A accumulated
            batches of B items per process: ``s * A * B``.

    Attributes:
        quotas: Slots of each task in a block, of the policies balanced and temperature.

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
        """The k-th item of this rank since the beginning of training, whatever `start` is."""
        slot = k * self.world_size + self.rank
        if self.policy == "proportional":
            return Draw(self._shuffled(0, slot, self._offsets[-1]), slot)
        block, position = divmod(slot, self._block_length)
        tasks, occurrences = self._block(block)
        task = int(tasks[position])
        draw = block * self.quotas[task] + int(occurrences[position])
        return Draw(self._offsets[task] + self._shuffled(1 + task, draw, self.sizes[task]), slot)

    def _shuffled(self, stream: int, draw: int, size: int) -> int:
        """The draw-th index of a stream that runs through permutation after permutation."""
        epoch, position = divmod(draw, size)
        # Slots are visited in order, so that one permutation per stream is enough to remember.
        cached = self._permutations.get(stream)
        if cached is None or cached[0] != epoch:
            rng = np.random.default_rng([self.seed, 0, stream, epoch])
            cached = self._permutations[stream] = (epoch, rng.permutation(size))
        return int(cached[1][position])

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Task of each slot of a block, and how often that task came before in the block."""
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
    """Corner of a random square patch, a pure function of the seed and the draw's counter.

    Args:
        seed: Seed of the run.
        counter: `Draw.counter`.
        height: Rows of the image.
        width: Columns of the image.
        size: Side of the patch.
        stream: CROP for the patch that is restored, POSITIVE_CROP for a second one.

    Returns:
        Top and left, uniform over all positions inside the image, borders included.

    Raises:
        InputError: The image is smaller than the patch.
    """
    if min(height, width) < size:
        fitting = min(height, width)
        raise InputError(
            f"an image is {height}x{width} pixels, smaller than the patch of {size}x{size}; "
            f"type data.patch_size={fitting // 8 * 8 or fitting}"
        )
    # The low word of Philox's counter numbers the random words of one draw, the others tell draws
    # apart: streams never overlap.
    rng = np.random.Generator(np.random.Philox(key=seed, counter=[0, stream, counter, 0]))
    return int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))


def _quotas(sizes: Sequence[int], temperature: float) -> list[int]:
    """Slots of each task in a block: largest remainders, at least one each, in lowest terms."""
    logs = np.log(sizes)
    weights = np.exp((logs - logs.max()) / temperature)  # no overflow for any temperature
    length = -(-_BLOCK_LENGTH // len(sizes)) * len(sizes)  # equal shares come out equal
    exact = weights / weights.sum() * length
    quotas = np.floor(exact).astype(int)
    largest_first = np.argsort(quotas - exact, kind="stable")
    quotas[largest_first[: length - quotas.sum()]] += 1
    for task in np.flatnonzero(quotas == 0):  # no task starves
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
