"""What the processes of a run draw, together and apart."""

from unittest.mock import patch

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from test_class_balanced import ROWS, city, names_of, statistics_of, write_city

from cityseg_ext.apis.dataset_statistics import save_statistics
from cityseg_ext.samplers import ClassBalancedSampler


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return city(write_city(tmp_path_factory.mktemp("city")))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stats")
    save_statistics(statistics_of(names_of()), folder)
    stats = str(folder / "stats.json")
    return {
        "default": lambda dataset: DefaultSampler(dataset, seed=3),
        "balanced": lambda dataset: ClassBalancedSampler(dataset, statistics=stats, seed=3, num_samples=24),
    }


def draws(make, dataset, world_size, epoch=0):
    """What each rank draws in an epoch."""
    found = []
    for rank in range(world_size):
        place = (rank, world_size)
        with (
            patch("mmengine.dataset.sampler.get_dist_info", return_value=place),
            patch("cityseg_ext.samplers.class_balanced.get_dist_info", return_value=place),
        ):
            sampler = make(dataset)
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_default_sampler_deals_out_each_image_once(dataset, kinds, world_size, epoch):
    ranks = draws(kinds["default"], dataset, world_size, epoch)
    assert len({len(drawn) for drawn in ranks}) == 1  # nobody waits for a batch that does not come
    dealt = [index for turn in zip(*ranks, strict=True) for index in turn]
    count = len(ROWS)
    assert sorted(dealt[:count]) == list(range(count))
    extra = -count % world_size
    assert dealt[count:] == dealt[:extra]  # the last turn is filled up
    assert dealt[:count] == draws(kinds["default"], dataset, 1, epoch)[0]


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_balanced_sampler_deals_out_the_draw_of_one(dataset, kinds, world_size, epoch):
    ranks = draws(kinds["balanced"], dataset, world_size, epoch)
    (alone,) = draws(kinds["balanced"], dataset, 1, epoch)
    assert [index for turn in zip(*ranks, strict=True) for index in turn] == alone


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_a_step_of_all_ranks_has_the_images_of_one_process(dataset, kinds, world_size):
    batch = 2
    for name, make in kinds.items():
        ranks, (alone,) = draws(make, dataset, world_size), draws(make, dataset, 1)
        for step in range(len(alone) // (batch * world_size)):
            together = [index for drawn in ranks for index in drawn[batch * step : batch * (step + 1)]]
            joint = alone[batch * world_size * step : batch * world_size * (step + 1)]
            assert sorted(together) == sorted(joint), name


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_endless_draws_are_dealt_out_too(dataset, world_size):
    count = 20
    ranks = []
    for rank in range(world_size):
        with patch("mmengine.dataset.sampler.get_dist_info", return_value=(rank, world_size)):
            iterator = iter(InfiniteSampler(dataset, seed=3))
        ranks.append([next(iterator) for _ in range(count)])
    alone = iter(InfiniteSampler(dataset, seed=3))
    assert [index for turn in zip(*ranks, strict=True) for index in turn] == [
        next(alone) for _ in range(count * world_size)
    ]
