from typing import Any

import numpy as np
import pytest

from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.epoch_plan import EpochPlan


def _plan(
    world: Any, *, seed: int = 3, blocks: dict[str, Any] | None = None, **settings: Any
) -> EpochPlan:
    """In batches of eight positives."""
    rows = 8 * (1 + settings.get("negatives", 1))
    return EpochPlan(
        world.split,
        world.split.train,
        settings=BatchSettings(**{"rows": rows, **settings}),
        blocks=blocks,
        seed=seed,
    )


@pytest.fixture
def plain(world: Any) -> EpochPlan:
    return _plan(world)


def _rows(plan: dict[str, np.ndarray], column: int) -> set[tuple[int, ...]]:
    """Of the positives (column 0) or of a negative: users, positions and items."""
    columns = [plan["user"], plan["position"], plan["item"][..., column]]
    return set(zip(*(values.ravel().tolist() for values in columns), strict=True))


def test_plan_is_a_pure_function_of_seed_and_epoch(
    world: Any, plain: EpochPlan
) -> None:
    twin = _plan(world)
    twin.of_epoch(0)
    for name, values in plain.of_epoch(4).items():
        np.testing.assert_array_equal(values, twin.of_epoch(4)[name])


def test_epochs_and_seeds_differ(world: Any, plain: EpochPlan) -> None:
    other = _plan(world, seed=4)
    for plan in (plain.of_epoch(1), other.of_epoch(0)):
        assert (plan["user"] != plain.of_epoch(0)["user"]).mean() > 0.8
        shared = _rows(plan, column=1) & _rows(plain.of_epoch(0), column=1)
        assert len(shared) < 0.2 * len(_rows(plan, column=1))


def test_each_positive_comes_once_an_epoch(world: Any, plain: EpochPlan) -> None:
    train = world.split.train
    everything = set(zip(train.users, train.positions, train.items, strict=True))
    plan = plain.of_epoch(0)
    assert plan["user"].shape == plan["position"].shape == (len(train) // 8, 8)
    assert plan["item"].shape == (len(train) // 8, 8, 2)
    assert _rows(plan, column=0) <= everything
    assert len(_rows(plan, column=0)) == len(train) // 8 * 8


def test_what_an_epoch_leaves_out_comes_in_another(
    world: Any, plain: EpochPlan
) -> None:
    assert len(world.split.train) % 8
    drawn = set().union(*(_rows(plain.of_epoch(epoch), column=0) for epoch in range(4)))
    assert len(drawn) == len(world.split.train)


def test_negatives_are_unseen(world: Any, plain: EpochPlan) -> None:
    plan = plain.of_epoch(2)
    drawn = plan["item"][..., 1:]
    assert not world.split.seen(plan["user"][..., None], drawn).any()
    assert drawn.min() >= 1 and drawn.max() <= world.split.store.n_items


def test_several_negatives(world: Any, plain: EpochPlan) -> None:
    several = _plan(world, negatives=3)
    assert several.positives == 8
    plan = several.of_epoch(2)
    drawn = plan["item"][..., 1:]
    assert drawn.shape == (several.steps, 8, 3)
    assert not world.split.seen(plan["user"][..., None], drawn).any()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (drawn[..., a] != drawn[..., b]).mean() > 0.9
    # The positives and the first negative are the same, however many there are.
    np.testing.assert_array_equal(plan["item"][..., :2], plain.of_epoch(2)["item"])
    np.testing.assert_array_equal(plan["user"], plain.of_epoch(2)["user"])


def test_in_batch_negatives(world: Any) -> None:
    """The next two positives of the batch, in a circle, or else a uniform draw."""
    options = {"negatives": 2, "negative_sampling": "in_batch"}
    plan = _plan(world, **options).of_epoch(1)
    uniform = _plan(world, negatives=2).of_epoch(1)
    users, items, seen = plan["user"], plan["item"], world.split.seen
    np.testing.assert_array_equal(users, uniform["user"])
    np.testing.assert_array_equal(items[..., 0], uniform["item"][..., 0])
    taken = 0
    for step in range(len(users)):
        for row in range(8):
            user = users[step, row]
            for k in (1, 2):
                other = items[step, (row + k) % 8, 0]
                if seen(user, other):
                    other = uniform["item"][step, row, k]
                else:
                    taken += 1
                assert items[step, row, k] == other
    assert not seen(users[..., None], items[..., 1:]).any()
    assert 0.5 < taken / users.size / 2 < 1


def test_in_batch_negatives_of_a_batch_of_one(world: Any) -> None:
    """Its own positive is no negative."""
    one = {"rows": 2, "negatives": 1}
    plan = _plan(world, **one, negative_sampling="in_batch").of_epoch(0)
    np.testing.assert_array_equal(plan["item"], _plan(world, **one).of_epoch(0)["item"])


def test_every_block_comes_once_before_any_comes_twice(world: Any) -> None:
    plan = _plan(world, blocks={"some": (40, 5), "few": (3, 2)})
    found = plan.of_epoch(0)
    assert found["some"].shape == (plan.steps, 5)
    assert found["few"].shape == (plan.steps, 2)
    for name, size in (("some", 40), ("few", 3)):
        rows = found[name].ravel()
        cycles = np.split(rows, range(size, len(rows), size))
        assert len(cycles) > 2
        for cycle in cycles:
            assert len(set(cycle)) == len(cycle) and set(cycle) <= set(range(size))
    assert found["some"][:8].tolist() != found["some"][8:16].tolist()
