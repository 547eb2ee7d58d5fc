"""What users of an export do, in a process that has none of our code, nor the libraries behind our front ends; and,
at the end, the embedding job, whose workers may lack those libraries too.

    python hub_client.py MODULE INPUTS.npz OUTPUTS.npz FLAGS-OF-EMBED        (`client` of tiny_export.py runs it)

Prints what the job prints, and a line of JSON; the outputs are called way/signature/key.
"""

import functools
import gc
import json
import sys

gc.set_threshold(50_000)  # to import what follows takes a tenth less

for name in ("mmv_tf", "tensorflow_io", "tensorflow_text"):
    sys.modules[name] = None

import eager  # noqa: E402  (beside this file)
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_hub as hub  # noqa: E402
import tf_keras  # noqa: E402

eager.at_once()


@functools.cache
def load_once(path, load=tf.saved_model.load):
    return load(path)


def load(path, tags=None):
    """A dozen calls below load the same folder, each for seconds; TensorFlow has one function with two names for it."""
    assert tags is None
    return load_once(path)


tf.saved_model.load = tf.compat.v1.saved_model.load_v2 = load


def embed_every_way(path, inputs):
    found = {}

    def note(way, name, outputs):
        found.update({f"{way}/{name}/{key}": value.numpy() for key, value in outputs.items()})

    plain, from_hub = tf.saved_model.load(path), hub.load(path)
    for name, value in inputs.items():
        note("tf", name, plain.signatures[name](value))
        note("hub", name, from_hub.signatures[name](value))
        note("embed", name, getattr(plain.embed, name)(value))
        note("layer", name, hub.KerasLayer(path, signature=name, signature_outputs_as_dict=True)(value))
        note("keras3", name, keras.layers.TFSMLayer(path, call_endpoint=name)(value))
    note("call", "video", from_hub(inputs["video"]))
    layer = hub.KerasLayer(path, signature="video", signature_outputs_as_dict=False, output_key="before_head")
    note("output_key", "video", {"before_head": layer(inputs["video"])})
    note("subscript", "video", {"before_head": hub.load(path).signatures["video"](inputs["video"])["before_head"]})
    # As in the documentation of the published modules: similarities in the space that the two share.
    video, text = from_hub.signatures["video"](inputs["video"]), from_hub.signatures["text"](inputs["text"])
    found["similarity"] = tf.matmul(text["vat"], video["vat"], transpose_b=True).numpy()
    # A Keras 3 model around it, for inference.
    clip = keras.Input(inputs["video"].shape[1:])
    model = keras.Model(clip, keras.layers.TFSMLayer(path, call_endpoint="video")(clip)["va"])
    found["functional/video/va"] = model.predict(inputs["video"].numpy(), verbose=0)
    return found


def values_of(layer):
    """Those of weights, and those of moving averages."""
    return [[v.numpy() for v in part] for part in (layer.trainable_variables, layer.non_trainable_variables)]


def changed(layer, before):
    """How many weights there are, and how many of these and of the moving averages have changed."""
    found = [
        sum(bool((old != new).any()) for old, new in zip(*part, strict=True))
        for part in zip(before, values_of(layer), strict=True)
    ]
    return {"trainable": len(before[0]), "changed": found[0], "moving_averages_changed": found[1]}


def descend(layer, inputs, key):
    """One step of gradient descent on a sum of one output; how many weights and moving averages it changed."""
    before = values_of(layer)
    with tf.GradientTape() as tape:
        embedding = layer(inputs, training=True)[key]
        loss = tf.reduce_sum(embedding * tf.random.stateless_normal(embedding.shape, [0, 1]))
    gradients = tape.gradient(loss, layer.trainable_variables)
    for gradient, variable in zip(gradients, layer.trainable_variables, strict=True):
        if gradient is not None:
            variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
    return changed(layer, before)


def fit(path, inputs):
    """A classifier on top of a space, trained with the network by fit() of tf_keras; losses, and what changed."""
    tf_keras.utils.set_random_seed(0)
    layer = hub.KerasLayer(path, trainable=True, output_key="va")
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(2)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(0.01), loss)
    model.build([None, *inputs.shape[1:]])
    model.optimizer.build(model.trainable_variables)  # or the step is traced twice: once for these to be made
    before = values_of(layer)
    history = model.fit(inputs, tf.constant([0, 1]), epochs=8, verbose=0).history["loss"]
    return {"first": history[0], "last": history[-1], **changed(layer, before)}


def main(path, inputs, output, *flags):
    inputs = dict(np.load(inputs, allow_pickle=False))
    inputs = {name: tf.constant(list(value) if name == "text" else value) for name, value in inputs.items()}
    # Training shows that it changes something; grappler is there for the values.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tuned, module = {"": fit(path, inputs["video"])}, hub.load(path)
    for name in ("audio", "image"):
        tuned[name] = descend(hub.KerasLayer(getattr(module.embed, name), trainable=True), inputs[name], "va")
    load_once.cache_clear()  # of what was trained
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    np.savez(output, **embed_every_way(path, inputs))
    del sys.modules["mmv_tf"]
    from mmv_tf.export import embed

    assert embed.main([f"--module={path}", *flags]) == 0
    print(json.dumps(tuned))


if __name__ == "__main__":
    main(*sys.argv[1:])
