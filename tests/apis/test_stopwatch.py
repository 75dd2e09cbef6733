import pytest

from cityseg_ext.apis import stopwatch
from cityseg_ext.apis.stopwatch import REST, Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that others turn."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


class Model:
    def __init__(self, clock):
        self.clock = clock

    def forward(self, depth=0):
        self.clock[0] += 1
        if depth:
            self.forward(depth - 1)
        return self.loss()

    def loss(self):
        self.clock[0] += 10
        return "loss"


def test_inner_parts_are_not_counted_twice(clock):
    model, watch = Model(clock), Stopwatch()
    watch.wrap(model, "forward", "forward")
    watch.wrap(model, "loss", "loss")
    assert model.forward() == "loss"  # before the start: nothing is counted
    watch.start()
    for depth in (0, 2):  # the second calls itself twice
        clock[0] += 100
        model.forward(depth=depth)
        clock[0] += 100
        watch.finish_step()
    assert watch.steps == [
        {REST: 200, "forward": 1, "loss": 10},
        {REST: 200, "forward": 3, "loss": 30},
    ]


def test_a_part_that_fails_ends(clock):
    watch = Stopwatch()
    watch.start()
    with pytest.raises(KeyError), watch.part("loss"):
        clock[0] += 1
        raise KeyError
    clock[0] += 5
    watch.finish_step()
    assert watch.steps == [{"loss": 1, REST: 5}]


def test_the_device_is_waited_for(clock):
    def synchronize():
        clock[0] += 7  # work that was asked for, and not done yet

    watch = Stopwatch(synchronize)
    watch.start()
    with watch.part("forward"):
        pass
    watch.finish_step()
    assert watch.steps == [{REST: 14, "forward": 7}]
