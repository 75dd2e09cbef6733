"""The times of a training step's parts, and what follows from them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from cityseg_ext.apis.stopwatch import REST

WAIT = "wait for data"
COLLATE = "collate"
PARTS = (WAIT, "to the device", "normalise, pad", "forward", "loss", "backward", "optimiser", "hooks, log", REST)
ENOUGH = 0.05
"""The share of its time that a step may wait where workers are called enough."""


@dataclass(frozen=True)
class StepTimes:
    """What one short run has measured.

    Attributes:
        workers: loader processes.
        batch_size: images a step.
        steps: of every step: part of ``PARTS`` -> seconds.
    """

    workers: int
    batch_size: int
    steps: list[dict[str, float]]

    def part(self, name: str) -> list[float]:
        """Seconds of a part in every step."""
        return [step.get(name, 0.0) for step in self.steps]

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(map(sum, (step.values() for step in self.steps)))

    @property
    def images_per_second(self) -> float:
        """Images trained on in a second, waiting included."""
        return self.batch_size * len(self.steps) / self.total

    @property
    def wait_share(self) -> float:
        """The share of the time in which the model waits for data, 0 to 1."""
        return sum(self.part(WAIT)) / self.total

    @property
    def compute(self) -> float:
        """Seconds of a step without waiting, median."""
        return statistics.median(sum(step.values()) - step.get(WAIT, 0.0) for step in self.steps)


@dataclass(frozen=True)
class StepBenchmark:
    """Where the time of a training step goes.

    Attributes:
        loading: transform, in the order of the pipeline -> seconds of each image that was loaded in one process.
        collate: seconds of putting a batch together, several times.
        runs: one for each number of workers that was tried; the first has the config's number.
        peak_memory: bytes at the worst moment of the first run, of ``memory_kind``; None where it cannot be told.
        memory_kind: what is counted.
    """

    loading: dict[str, list[float]]
    collate: list[float]
    runs: tuple[StepTimes, ...]
    peak_memory: int | None
    memory_kind: str

    @property
    def load_seconds(self) -> float:
        """Seconds in which one process loads a batch, by the means of its parts."""
        return self.runs[0].batch_size * sum(map(statistics.mean, self.loading.values())) + statistics.mean(
            self.collate
        )

    @property
    def workers_predicted(self) -> int:
        """Loading time by computing time, rounded up: so many workers keep up if each has a core."""
        return math.ceil(self.load_seconds / self.runs[0].compute)

    @property
    def workers_measured(self) -> int | None:
        """The fewest workers with which a step waited no more than ``ENOUGH``; None if no number tried was enough."""
        return min((run.workers for run in self.runs if run.wait_share <= ENOUGH), default=None)
