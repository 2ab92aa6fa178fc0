"""Where rules meet what they do not split, scores are those of the model on rows."""

import numpy as np
import pytest

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.layers.attention_pooling import AttentionPooling
from keras_sllmr.layers.cin import CIN
from keras_sllmr.layers.cross_net import CrossNet

layers = keras.layers
N_USERS, N_ITEMS = 3, 5


def join(*values, axis=-1):
    return layers.Concatenate(axis=axis)(values)


def dense(value, units=1, **options):
    return layers.Dense(units, **options)(value)


def joined_twice(u, i, fields_u, fields_i):
    return dense(join(join(u, i), u, join(i, u)))


def joined_with_a_sum(u, i, fields_u, fields_i):
    total = layers.Add()([u, i])
    return dense(join(u, total, i), activation="sigmoid")


def joined_along_two_axes(u, i, fields_u, fields_i):
    fields = join(fields_u, fields_i, axis=1)
    return dense(layers.Flatten()(join(fields, fields, axis=2)))


def flattened_across(u, i, fields_u, fields_i):
    return dense(layers.Flatten()(join(fields_u, fields_i, axis=2)))


def flattened_channels_first(u, i, fields_u, fields_i):
    fields = join(fields_u, fields_i, axis=1)
    return dense(layers.Flatten(data_format="channels_first")(fields))


def reshaped_to_fields(u, i, fields_u, fields_i):
    return dense(layers.Flatten()(layers.Reshape([3, 4])(join(fields_u, fields_i))))


def sum_through_dense(u, i, fields_u, fields_i):
    total = layers.Dropout(0.5)(layers.Add()([u, i, u]))
    return dense(dense(total, 4))


def sum_of_fields(u, i, fields_u, fields_i):
    total = layers.Add()([fields_u, fields_i])
    return dense(layers.Flatten()(dense(total, 2, use_bias=False)))


def flattened_sum(u, i, fields_u, fields_i):
    return dense(layers.Flatten()(layers.Add()([fields_u, fields_i])))


def sum_with_a_joined(u, i, fields_u, fields_i):
    both = join(u, i)
    return dense(layers.Add()([both, layers.Dropout(0.1)(both), dense(u, 6)]))


def sum_that_broadcasts(u, i, fields_u, fields_i):
    return dense(layers.Add()([dense(u, 1), i]))


def dense_on_each_field(u, i, fields_u, fields_i):
    fields = dense(join(fields_u, fields_i, axis=1), 4, activation="relu")
    return dense(layers.Flatten()(layers.Dropout(0.5)(fields)))


def fm_of_fields(u, i, fields_u, fields_i):
    return deepctr_layers.FM()(join(fields_u, fields_i, fields_u, axis=1))


def fm_with_a_field_of_both(u, i, fields_u, fields_i):
    both = layers.Multiply()([fields_u, fields_i])
    return deepctr_layers.FM()(join(fields_u, both, fields_i, axis=1))


def fm_of_a_product(u, i, fields_u, fields_i):
    return deepctr_layers.FM()(layers.Multiply()([fields_u, fields_i]))


def perceptron_without_layers(u, i, fields_u, fields_i):
    return dense(deepctr_layers.DNN([])(join(u, i)))


def perceptron_of_a_product(u, i, fields_u, fields_i):
    return dense(deepctr_layers.DNN([4, 2])(layers.Multiply()([u, i])))


def perceptron_of_all_kinds(u, i, fields_u, fields_i):
    both = layers.Multiply()([u, i])
    return dense(deepctr_layers.DNN([4, 2])(join(both, u, i, both)))


def masked_sum(u, i, fields_u, fields_i):
    fields = [layers.Masking(0.0)(fields_u), layers.Masking(0.0)(fields_i)]
    return dense(layers.GlobalAveragePooling1D()(layers.Add()(fields)))


def masked_concatenation(u, i, fields_u, fields_i):
    fields = [layers.Masking(0.0)(fields_u), layers.Masking(0.0)(fields_i)]
    joined = layers.Dropout(0.5)(layers.Concatenate(axis=1)(fields))
    return dense(layers.GlobalAveragePooling1D()(joined))


def cross(*options, units=1, **head):
    def crossed(u, i, fields_u, fields_i):
        return dense(
            dense(CrossNet(*options)(join(i, u, i)), units, **head), use_bias=False
        )

    return crossed


def cross_of_a_product(u, i, fields_u, fields_i):
    return dense(CrossNet(2, "matrix")(join(layers.Multiply()([u, i]), u, i)))


def cross_without_a_head(u, i, fields_u, fields_i):
    crossed = CrossNet(2, "matrix")(join(u, i))
    return dense(layers.Activation("tanh")(crossed))


def cross_with_others(u, i, fields_u, fields_i):
    crossed = CrossNet(1, "vector")(join(u, i))
    return dense(dense(join(u, crossed, i), 2, activation="tanh"))


def compressed(sizes, activation="linear", split_half=True):
    def network(u, i, fields_u, fields_i):
        fields = join(fields_u, fields_i, fields_u, axis=1)
        maps = CIN(sizes, activation, split_half, l2_reg=0.0)(fields)
        return layers.Add()([dense(maps), dense(dense(maps, 2))])

    return network


def interacting(*options):
    def attended(u, i, fields_u, fields_i):
        fields = join(fields_u, fields_i, axis=1)
        for _ in range(options[0]):
            fields = deepctr_layers.InteractingLayer(2, *options[1:])(fields)
        flat = layers.Flatten()(fields)
        return layers.Add()([dense(flat), dense(dense(flat, 3))])

    return attended


def attended(*options, **others):
    def pooled(u, i, fields_u, fields_i):
        target = layers.Reshape([1, 3])(i)
        history = layers.Masking(0.0)(fields_u)
        both = AttentionPooling([4, 3], *options, supports_masking=True, **others)
        field = both([target, history])
        flat = layers.Flatten()(join(fields_i, field, fields_u, axis=1))
        return dense(layers.Add()([dense(flat, 2, activation="tanh"), dense(flat, 2)]))

    return pooled


def attention_alone(u, i, fields_u, fields_i):
    history = layers.Masking(0.0)(fields_u)
    pooled = AttentionPooling([4], supports_masking=True)(
        [layers.Reshape([1, 3])(i), history]
    )
    return dense(layers.Flatten()(pooled))


def attention_of_a_user_to_items(u, i, fields_u, fields_i):
    items = layers.Masking(0.0)(fields_i)
    pooled = AttentionPooling([4], supports_masking=True)(
        [layers.Reshape([1, 3])(u), items]
    )
    return dense(layers.Flatten()(pooled))


CASES = [
    joined_twice,
    joined_with_a_sum,
    joined_along_two_axes,
    flattened_across,
    flattened_channels_first,
    reshaped_to_fields,
    sum_through_dense,
    sum_of_fields,
    flattened_sum,
    sum_with_a_joined,
    sum_that_broadcasts,
    dense_on_each_field,
    fm_of_fields,
    fm_with_a_field_of_both,
    fm_of_a_product,
    perceptron_without_layers,
    perceptron_of_a_product,
    perceptron_of_all_kinds,
    masked_sum,
    masked_concatenation,
    *(cross(n, kind) for n in (1, 2, 3, 4) for kind in ("vector", "matrix")),
    cross(2, "vector", units=3, activation="tanh"),
    cross(2, "matrix", units=3),
    cross_of_a_product,
    cross_without_a_head,
    cross_with_others,
    compressed([3]),
    compressed([4, 2, 3]),
    compressed([4, 3], split_half=False),
    compressed([4, 2], "relu"),
    interacting(1, 2, True, False),
    interacting(1, 1, False, True),
    interacting(2, 3, True, True),
    attended(),
    attended("dice", weight_normalization=True),
    attended("tanh", weight_normalization=True),
    attention_alone,
    attention_of_a_user_to_items,
]


@pytest.mark.parametrize("build", CASES)
def test_equals_the_model_on_rows(build):
    keras.utils.set_random_seed(0)
    shapes = {"u": [3], "i": [3], "fields_u": [2, 3], "fields_i": [2, 3]}
    inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    model = keras.Model(inputs, build(**inputs))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    for weight in model.weights:
        if "variance" in weight.name:
            weight.assign(tf.abs(weight) + 0.1)
    users = {name: rng.normal(size=[N_USERS, *shapes[name]]) for name in shapes}
    items = {name: rng.normal(size=[N_ITEMS, *shapes[name]]) for name in shapes}
    users["fields_u"][0, 0] = items["fields_i"][1, 0] = 0.0  # what Masking masks
    rows = {
        "u": np.repeat(users["u"], N_ITEMS, axis=0),
        "fields_u": np.repeat(users["fields_u"], N_ITEMS, axis=0),
        "i": np.tile(items["i"], (N_USERS, 1)),
        "fields_i": np.tile(items["fields_i"], (N_USERS, 1, 1)),
    }
    expected = model.predict(rows, verbose=0).reshape(N_USERS, N_ITEMS)
    assert expected.std() > 0.001
    scorer = GridScorer(model, item_inputs=["i", "fields_i"])
    scorer.set_items(items)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(scorer.score(users) / scale, expected / scale, atol=1e-5)
