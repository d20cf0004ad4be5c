"""How many operations TensorFlow executes for a layer: a measure of overhead that does not depend on the machine.

python -m benchmarks.op_counts
"""

import collections
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workloads import sum_of_squares

v1 = tf.compat.v1


def executed(
    layer: keras.Layer, batch: int, steps: int, features: int, gradient: bool = True
) -> collections.Counter[str]:
    """The operations executed in one call of `layer` in a graph, by type, each turn of a loop counted.

    Args:
        layer: any layer that takes `(batch, steps, features)`.
        batch, steps, features: the size of the call.
        gradient: whether the gradients of inputs and weights are computed too, in training.

    Returns:
        The counts, after TensorFlow's own simplifications of the graph.
    """
    inputs = np.zeros((batch, steps, features), "float32")
    layer.build(inputs.shape)
    trained = [keras.ops.convert_to_numpy(variable) for variable in layer.trainable_variables]
    others = [keras.ops.convert_to_numpy(variable) for variable in layer.non_trainable_variables]

    def run(inputs: Any, weights: list) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([inputs, weights])
            outputs, _ = layer.stateless_call(weights, others, inputs, training=gradient)
            loss = sum_of_squares(outputs)
        return tape.gradient(loss, [inputs, *weights]) if gradient else outputs

    specs = [tf.TensorSpec(weight.shape, weight.dtype) for weight in trained]
    traced = tf.function(run).get_concrete_function(tf.TensorSpec(inputs.shape, inputs.dtype), specs)
    # A session can tell what it executed.
    metadata, options = v1.RunMetadata(), v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
    with tf.Graph().as_default():
        tf.import_graph_def(traced.graph.as_graph_def(), name="")
        with v1.Session() as session:
            session.run(
                [output.name for output in traced.outputs],
                dict(zip([tensor.name for tensor in traced.inputs], [inputs, *trained], strict=True)),
                options=options,
                run_metadata=metadata,
            )
    # A label reads `name = Type(arguments)`.
    return collections.Counter(
        node.timeline_label.split(" = ")[-1].split("(")[0].strip()
        for device in metadata.step_stats.dev_stats
        for node in device.node_stats
    )


def per_step(layer: keras.Layer, batch: int, steps: int, features: int, gradient: bool = True) -> tuple[float, float]:
    """Operations, and matrix products among them, for each step of a sequence of `steps`."""
    counts = executed(layer, batch, steps, features, gradient)
    if not counts:
        raise RuntimeError("TensorFlow told of no operation that it executed.")
    products = sum(count for kind, count in counts.items() if "MatMul" in kind)
    return sum(counts.values()) / steps, products / steps


def main() -> None:
    """Prints the counts of Keras's layers and ours."""
    import keras_rnn_ext

    print("Operations a step (matrix products among them), 8 x 40 x 4 x 4 units:")
    for name in ("SimpleRNN", "LSTM", "GRU"):
        for gradient in (True, False):
            row = []
            for package, prefix in ((keras.layers, ""), (keras_rnn_ext, "My")):
                layer = getattr(package, prefix + name)(4, return_sequences=True)
                row.append("{:6.1f} ({:.2f})".format(*per_step(layer, 8, 40, 4, gradient)))
            mode = "with gradient" if gradient else "forward"
            print(f"  {name:10} {mode:14} Keras {row[0]:15} ours {row[1]}")


if __name__ == "__main__":
    main()
