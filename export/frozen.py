"""A signature as a function of constants, as converters to other formats need it."""


def frozen(signature, name: str, shape):
    """A signature as a tf.function whose weights are constants: input -> {key: vector}.

    This also leaves the module's table of words behind, which no converter takes.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    spec, keys = tf.TensorSpec(shape, tf.float32, name), vector_keys(signature)

    def vectors(inputs):
        outputs = signature(inputs)
        return [outputs[key] for key in keys]

    whole = tf.function(vectors, autograph=False).get_concrete_function(spec)
    constant = convert_to_constants.convert_variables_to_constants_v2(whole)
    return tf.function(lambda inputs: dict(zip(keys, constant(inputs), strict=True)), autograph=False)


def vector_keys(signature) -> list[str]:
    """The outputs of a signature that are a vector an input: all but last_conv."""
    return sorted(key for key, spec in signature.structured_outputs.items() if spec.shape.rank == 2)
