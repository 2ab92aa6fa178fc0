import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.layers.project import project


def test_by_hand():
    x = tf.constant([[[1.0, 2.0], [0.0, -1.0]]])
    kernel = tf.constant([[1.0, 0.0, 3.0], [2.0, 1.0, 0.0]])
    assert project(x, kernel).numpy().tolist() == [[[5, 2, 3], [-2, -1, 0]]]


@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 4), st.integers(1, 4))
def test_is_the_product_of_every_vector(axes, width, units):
    random = np.random.default_rng(0)
    x = random.normal(size=[*axes, width]).astype(np.float32)
    kernel = random.normal(size=[width, units]).astype(np.float32)
    found = project(tf.constant(x), tf.constant(kernel)).numpy()
    assert found.shape == (*axes, units)
    np.testing.assert_allclose(found, x @ kernel, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [[None, 5, 2], [None, None, 2], [3, None, 2]])
def test_known_sizes_stay_known(shape):
    found = []

    @tf.function(input_signature=[tf.TensorSpec(shape), tf.TensorSpec([2, 4])])
    def traced(x, kernel):
        found.append(project(x, kernel).shape.as_list())
        return project(x, kernel)

    assert traced(tf.ones([3, 5, 2]), tf.ones([2, 4])).shape == [3, 5, 4]
    assert found == [[*shape[:-1], 4]]
