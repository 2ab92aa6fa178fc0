from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.training.lazy_adam import LazyAdam

RATE, BETA_1, BETA_2, EPSILON = 0.05, 0.8, 0.9, 1e-5
OPTIONS = {
    "learning_rate": RATE,
    "beta_1": BETA_1,
    "beta_2": BETA_2,
    "epsilon": EPSILON,
}


def _table() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)


# Steps of (rows, a gradient a row): rows come twice in a step and stay away for some.
STEPS = [([1, 3, 1], 1), ([3, 3], 2), ([0, 5, 1], 3), ([3], 4)]


def _gradient(rows: list[int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(rows), 2)).astype(np.float32)


def _reference() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kingma and Ba's algorithm 1 on the rows of each step alone."""
    table = _table().astype(np.float64)
    m, v = np.zeros_like(table), np.zeros_like(table)
    for step, (rows, seed) in enumerate(STEPS, start=1):
        total = np.zeros_like(table)
        np.add.at(total, rows, _gradient(rows, seed))
        for row in set(rows):
            m[row] = BETA_1 * m[row] + (1 - BETA_1) * total[row]
            v[row] = BETA_2 * v[row] + (1 - BETA_2) * total[row] ** 2
            rate = RATE * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            table[row] -= rate * m[row] / (np.sqrt(v[row]) + EPSILON)
    return table, m, v


def _run(optimizer: Any, variable: Any, *, graph: bool) -> None:
    def step(values: Any, rows: Any) -> None:
        gradient = tf.IndexedSlices(values, rows, tf.constant([6, 2]))
        optimizer.apply_gradients([(gradient, variable)])

    run = tf.function(step, reduce_retracing=True) if graph else step
    for rows, seed in STEPS:
        run(tf.constant(_gradient(rows, seed)), tf.constant(rows))


def _moments(optimizer: Any) -> tuple[np.ndarray, np.ndarray]:
    _, m, v = optimizer.variables
    return m.numpy(), v.numpy()


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_sparse_gradients_equal_a_reference(graph: bool) -> None:
    variable, optimizer = tf.Variable(_table()), LazyAdam(**OPTIONS)
    optimizer.build([variable])
    _run(optimizer, variable, graph=graph)
    table, m, v = _reference()
    np.testing.assert_allclose(variable, table, rtol=1e-4, atol=1e-6)
    for moment, expected in zip(_moments(optimizer), (m, v), strict=True):
        np.testing.assert_allclose(moment, expected, rtol=1e-4, atol=1e-6)
    assert int(optimizer.iterations) == len(STEPS)


def test_rows_outside_the_batch_keep_value_and_moments() -> None:
    variable, optimizer = tf.Variable(_table()), LazyAdam(**OPTIONS)
    optimizer.build([variable])
    _run(optimizer, variable, graph=False)
    before = variable.numpy(), *_moments(optimizer)
    gradient = tf.IndexedSlices(tf.ones([2, 2]), tf.constant([4, 4]))
    optimizer.apply_gradients([(gradient, variable)])
    others = [0, 1, 2, 3, 5]
    after = variable.numpy(), *_moments(optimizer)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[others], new[others])
        assert (old[4] != new[4]).all()
    np.testing.assert_array_equal(after[0][2], _table()[2])


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.1}, {"clipnorm": 0.5}], ids=str
)
def test_dense_gradients_equal_adam(graph: bool, more: dict[str, float]) -> None:
    """The kernel's values and moments, of a table and of a single number."""
    schedule = keras.optimizers.schedules.InverseTimeDecay(RATE, 1, 0.5)
    states = []
    for make in (LazyAdam, keras.optimizers.Adam):
        variables = [tf.Variable(_table()), tf.Variable(0.5)]
        options = {**OPTIONS, "learning_rate": schedule, **more}
        optimizer = make(**options, jit_compile=False)
        optimizer.build(variables)

        def step(
            table: Any, number: Any, optimizer: Any = optimizer, of: Any = variables
        ) -> None:
            optimizer.apply_gradients([(table, of[0]), (number, of[1])])

        run = tf.function(step) if graph else step
        for seed in range(5):
            run(tf.constant(_gradient([0] * 6, seed)), tf.constant(seed - 1.5))
        states.append([v.numpy() for v in (*variables, *optimizer.variables)])
    for ours, theirs in zip(*states, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert len(states[0]) == 7 and states[0][2] == 5  # values, iterations, moments


def test_a_full_batch_of_rows_equals_adam() -> None:
    tables = []
    for make in (LazyAdam, keras.optimizers.Adam):
        variable, optimizer = tf.Variable(_table()), make(**OPTIONS, jit_compile=False)
        for seed in range(5):
            values = tf.constant(_gradient([0] * 6, seed))
            gradient = tf.IndexedSlices(values, tf.range(6), tf.constant([6, 2]))
            optimizer.apply_gradients([(gradient, variable)])
        tables.append(variable.numpy())
    np.testing.assert_allclose(*tables, rtol=1e-5)


def test_a_schedule_sets_the_rate() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.0])
    variable, optimizer = tf.Variable(_table()), LazyAdam(schedule)
    gradient = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([2]), tf.constant([6, 2]))
    optimizer.apply_gradients([(gradient, variable)])
    first = variable.numpy()
    optimizer.apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(first[2], _table()[2] - 0.1, rtol=1e-4)
    np.testing.assert_array_equal(variable, first)


def _model() -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.Flatten()(keras.layers.Embedding(9, 2)(ids))
    model = keras.Model(ids, keras.layers.Dense(1)(hidden))
    model.compile(LazyAdam(0.01), "mse", run_eagerly=True)
    return model


def _fit(model: Any) -> Any:
    rows = np.random.default_rng(1).integers(0, 9, (12, 3))
    return model.fit(rows, rows.sum(1), batch_size=4, shuffle=False, verbose=0)


def test_state_survives_a_saved_model(tmp_path: Path) -> None:
    model = _model()
    _fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, LazyAdam)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    loaded.run_eagerly = True
    assert _fit(loaded).history == _fit(model).history


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    model, twin = _model(), _model()
    _fit(model)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
        str(tmp_path / "c")
    )
    twin.optimizer.build(twin.trainable_variables)
    tf.train.Checkpoint(model=twin, optimizer=twin.optimizer).restore(path)
    assert int(twin.optimizer.iterations) == 3
    assert _fit(twin).history == _fit(model).history


def test_config_round_trip() -> None:
    optimizer = LazyAdam(**OPTIONS)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(twin, LazyAdam)
    assert twin.get_config() == optimizer.get_config()


@pytest.mark.parametrize("option", ["amsgrad", "adaptive_epsilon"])
def test_what_is_not_supported(option: str) -> None:
    with pytest.raises(ConfigError, match=f"`{option}` must be left off"):
        LazyAdam(**{option: True})
    LazyAdam(**{option: False})
