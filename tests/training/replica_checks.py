"""What two replicas must do; run by the tests in a process with two devices."""

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.pairs import score_gaps, select_pairs
from keras_sllmr.losses.replicas import mean_over_replicas
from keras_sllmr.training.batch import one_batch
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def _each(*values):
    """A value a replica."""
    return STRATEGY.experimental_distribute_values_from_function(
        lambda context: values[context.replica_id_in_sync_group]
    )


def _run(step, *values):
    # Outside of a graph, replicas' sums would wait for one another for ever.
    found = tf.function(lambda value: STRATEGY.run(step, args=(value,)))(_each(*values))
    return STRATEGY.experimental_local_results(found)


def rows_of_both_replicas_are_summed_once():
    # Row 1 is in both, and twice in one of them; the numbers of rows differ.
    rows = [tf.constant([1, 1, 2]), tf.constant([1, 3])]
    values = [tf.constant([[1.0], [2.0], [4.0]]), tf.constant([[0.5], [8.0]])]
    dense = tf.constant([[0.25, -1.0]])

    def trained(scope, step):
        with scope:
            table = tf.Variable(tf.ones([5, 1]))
            kernel = tf.Variable(tf.ones([1, 2]))
            optimizer = LazyAdam(0.1)
            optimizer.build([table, kernel])
        for _ in range(3):
            step(optimizer, [table, kernel])
        return [value.numpy() for value in (table, kernel, *optimizer.variables[1:])]

    def apply(optimizer, variables, rows, values, dense):
        slices = tf.IndexedSlices(values, rows, tf.constant([5, 1]))
        optimizer.apply_gradients(zip([slices, dense], variables, strict=True))
        return tf.zeros(())

    def alone(optimizer, variables):
        apply(optimizer, variables, tf.concat(rows, 0), tf.concat(values, 0), 2 * dense)

    def both(optimizer, variables):
        step = tf.function(
            lambda *given: STRATEGY.run(
                lambda *mine: apply(optimizer, variables, *mine), args=given
            )
        )
        step(_each(*rows), _each(*values), _each(dense, dense))

    expected = trained(tf.distribute.get_strategy().scope(), alone)
    for found, value in zip(trained(STRATEGY.scope(), both), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6)


def means_are_of_all_terms():
    def step(terms):
        return mean_over_replicas(
            tf.reduce_sum(terms), tf.cast(tf.size(terms), tf.float32)
        )

    parts = _run(step, tf.constant([5.0]), tf.constant([4.0, 5.0, 6.0]))
    assert [float(part) for part in parts] == [2.5, 7.5]


def the_budget_of_pairs_is_the_batchs():
    scores = [
        tf.constant([[0.9, 0.5, 0.1], [0.0, 0.0, 0.0]]),
        tf.random.uniform([2, 3]),
    ]

    def step(scores):
        return select_pairs(score_gaps(scores, tf.fill(scores.shape, True)), 6)

    found = tf.concat(_run(step, *scores), 0)
    together = tf.concat(scores, 0)
    whole = select_pairs(score_gaps(together, tf.fill([4, 3], True)), 6)
    np.testing.assert_array_equal(found, whole)


def _block(users, items, scored):
    block = {
        "user": {},
        "item": {"item": tf.random.uniform([users, items], 1, 9, tf.int32)},
    }
    if scored:
        block |= {
            "score": tf.random.uniform([users, items]),
            "valid": tf.fill([users, items], True),
            "label": tf.fill([users, items], -1),
            "signals": {"cold": tf.ones([users, items])},
        }
    return block


def _model():
    features = {"item": keras.Input((), dtype="int32", name="item")}
    hidden = keras.layers.Embedding(9, 4)(features["item"])
    model = SelectiveModel(
        keras.Model(features, keras.layers.Dense(1)(hidden)),
        gate=Gate(("cold",), objective="joint"),
    )
    model.compile(LazyAdam(0.1), keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def blocks_of_different_lengths_are_refused():
    """Split each by its own axis, users would lose their rows without a word."""
    batch = (
        {"labelled": _block(8, 2, False), "guidance": _block(2, 3, True)},
        tf.tile([[1.0, 0.0]], [8, 1]),
    )
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    with STRATEGY.scope():
        model = _model()
    try:
        model.fit(dataset, steps_per_epoch=1, verbose=0)
    except ConfigError as error:
        assert "must be in groups" in str(error), error
    else:
        raise AssertionError("a batch was split")
    # The same in groups, each with the same first axis, is dealt out whole.
    groups = tf.nest.map_structure(
        lambda leaf: tf.reshape(leaf, [2, leaf.shape[0] // 2, *leaf.shape[1:]]), batch
    )
    one = _model()
    with STRATEGY.scope():
        model = _model()
    model.backbone.set_weights(one.backbone.get_weights())
    found = model.fit(
        tf.data.Dataset.from_tensors(groups).repeat(), steps_per_epoch=3, verbose=0
    )
    expected = one.fit(dataset, steps_per_epoch=3, verbose=0)
    for name, values in expected.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=1e-5)
    for a, b in zip(model.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def groups_of_different_numbers_are_refused():
    x = {"labelled": {"user": {}, "item": {"item": tf.ones([3, 2, 2], tf.int32)}}}
    try:
        one_batch(x, tf.ones([2, 2, 2]))
    except ConfigError as error:
        assert "first axes of 2, 3" in str(error), error
    else:
        raise AssertionError("groups were mixed up")


def several_steps_an_execution_are_refused():
    with STRATEGY.scope():
        model = _model()
        model.compile("sgd", "mse", steps_per_execution=8)
    try:
        model.fit({"item": tf.ones([8])}, tf.ones([8, 1]), verbose=0)
    except ConfigError as error:
        assert "must be 1 with several replicas" in str(error), error
    else:
        raise AssertionError("steps would overlap")


for check in (
    rows_of_both_replicas_are_summed_once,
    means_are_of_all_terms,
    the_budget_of_pairs_is_the_batchs,
    blocks_of_different_lengths_are_refused,
    groups_of_different_numbers_are_refused,
    several_steps_an_execution_are_refused,
):
    check()
    print(check.__name__, flush=True)
