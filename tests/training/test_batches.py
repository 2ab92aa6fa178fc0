from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import EndpointError
from keras_sllmr.training.batch import LABELLED, one_batch
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.batches import replica_batches
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.plan_files import PlanFiles
from keras_sllmr.training.share import Share
from keras_sllmr.training.workers import Workers

# Graphs of tf.data stay graphs, and are meant to.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")


@pytest.fixture
def data(world: Any, scores_of: Any) -> TrainingData:
    return TrainingData(
        world.split,
        world.tables,
        scores=scores_of("right"),
        settings=BatchSettings(rows=80, guidance_users=4, probe_users=4),
        labelled_pairs=True,
    )


def _assert_equal(found: Any, expected: Any) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def test_replicas_share_the_batch_of_one_process(data: TrainingData) -> None:
    """Users keep their items, labels and scores."""
    shares = data.dataset(share=Share(2, count=2)).take(6)
    groups = shares.unbatch().batch(2).as_numpy_iterator()
    for found, expected in zip(
        groups, data.dataset().as_numpy_iterator(), strict=False
    ):
        assert {len(leaf) for leaf in tf.nest.flatten(found)} == {2}
        whole = one_batch(*tf.nest.map_structure(tf.constant, found))[:2]
        _assert_equal(tf.nest.map_structure(lambda leaf: leaf.numpy(), whole), expected)


def test_each_worker_gathers_its_own_rows(data: TrainingData) -> None:
    (x, y), *_ = data.dataset(share=Share(2, first=1)).take(1).as_numpy_iterator()
    (whole, labels), *_ = data.dataset().take(1).as_numpy_iterator()
    assert y.shape == (1, 20, 2)
    np.testing.assert_array_equal(y[0], labels[20:])
    np.testing.assert_array_equal(
        x[LABELLED]["item"]["item"][0], whole[LABELLED]["item"]["item"][20:]
    )


def test_one_process_gets_whole_batches(data: TrainingData) -> None:
    found = replica_batches(data, first_epoch=1).take(3).as_numpy_iterator()
    expected = data.dataset(first_epoch=1).as_numpy_iterator()
    for one, other in zip(found, expected, strict=False):
        _assert_equal(one, other)


def test_plans_in_files(tmp_path: Path, data: TrainingData) -> None:
    plans = PlanFiles(tmp_path / "plans", data, range(3))
    again = PlanFiles(tmp_path / "plans", data, range(3), write=False)
    for epoch in range(3):
        expected = data.plan(epoch)
        for source in (plans, again):
            found = source(tf.constant(epoch, tf.int64))
            assert list(found) == list(expected)
            for name, value in expected.items():
                assert found[name].dtype == value.dtype
                np.testing.assert_array_equal(found[name], value)


class _Service:
    """A tf.data service in this process."""

    def __init__(self) -> None:
        self.api = tf.data.experimental.service
        self.dispatcher = self.api.DispatchServer(
            self.api.DispatcherConfig(port=0, protocol="grpc")
        )
        self.address = self.dispatcher.target
        self.workers = [self.worker()]

    def worker(self) -> Any:
        address = self.address.split("://")[1]
        return self.api.WorkerServer(
            self.api.WorkerConfig(dispatcher_address=address, port=0, protocol="grpc")
        )


def test_the_service_gives_the_batches_of_one_process(
    tmp_path: Path, data: TrainingData
) -> None:
    service = _Service()
    plans = PlanFiles(tmp_path / "plans", data, range(3))
    found = replica_batches(
        data, first_epoch=1, plans=plans, service=service.address
    ).as_numpy_iterator()
    expected = data.dataset(first_epoch=1, epochs=3).as_numpy_iterator()
    count = 0
    for one, other in zip(found, expected, strict=True):
        _assert_equal(one, other)
        count += 1
    assert count == 2 * data.steps_per_epoch


def test_a_service_of_two_workers_is_refused(
    tmp_path: Path, data: TrainingData
) -> None:
    service = _Service()
    service.workers.append(service.worker())
    plans = PlanFiles(tmp_path / "plans", data, range(3))
    batches = replica_batches(data, plans=plans, service=service.address)
    workers = Workers(service=service.address)
    with pytest.raises(EndpointError, match="must have one worker"), workers.together():
        for _ in batches:
            pass
