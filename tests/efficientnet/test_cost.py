"""What a network costs, against the published figure and against TensorFlow's own count."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

from efficientnet.cost import multiplications
from efficientnet.model import EfficientNet
from efficientnet.variants import ModelConfig


def test_b0_costs_what_its_paper_says():
    assert multiplications(ModelConfig("efficientnet-b0", 1000), 224) == pytest.approx(390e6, rel=0.02)


@pytest.mark.parametrize(("small_images", "size"), [(False, 64), (True, 28), (True, 24)])
def test_the_convolutions_are_those_that_tensorflow_counts(small_images, size):
    config = ModelConfig(
        "efficientnet-b0", 10, small_image_model=small_images, width_coefficient=0.2, depth_coefficient=0.3
    )
    model = EfficientNet(config)
    function = tf.function(model).get_concrete_function(tf.TensorSpec([1, size, size, 3]))
    frozen, _ = convert_variables_to_constants_v2_as_graph(function)
    graph = tf.compat.v1.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        counted = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
    # TensorFlow counts additions too, and batch norms and activations, which are a few for each value.
    assert 2 * multiplications(config, size) == pytest.approx(counted, rel=0.15)
