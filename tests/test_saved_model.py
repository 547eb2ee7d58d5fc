"""The export: equal to the Python model, and usable in a process that has none of our code."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from mmv_tf import workdir as workdirs
from mmv_tf.export import saved_model

# What a user's process does. None of our code, and neither of the libraries behind our front ends, may be needed.
CLIENT = """
import json, sys
for name in ("mmv_tf", "tensorflow_io", "tensorflow_text"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub

path, inputs, output = sys.argv[1:]
inputs = dict(np.load(inputs, allow_pickle=False))
video, audio = tf.constant(inputs["video"]), tf.constant(inputs["audio"])
text = tf.constant([s.decode() for s in inputs["text"]])
found = {}
for loader, module in (("tf", tf.saved_model.load(path)), ("hub", hub.load(path))):
    for name, value in (("video", video), ("audio", audio), ("text", text)):
        for key, result in module.signatures[name](value).items():
            found[f"{loader}/{name}/{key}"] = result.numpy()
layer = hub.KerasLayer(path, signature="video", signature_outputs_as_dict=False, output_key="before_head")
found["layer/video/before_head"] = layer(video).numpy()
for name, value in (("audio", audio), ("text", text)):
    for key, result in hub.KerasLayer(path, signature=name, signature_outputs_as_dict=True)(value).items():
        found[f"layer/{name}/{key}"] = result.numpy()

# Fine-tuning: every trainable weight on the way gets a gradient, and the batch norms follow the batch.
layer = hub.KerasLayer(path, trainable=True)
before = [v.numpy() for v in layer.trainable_variables], [v.numpy() for v in layer.non_trainable_variables]
with tf.GradientTape() as tape:
    va = layer(video, training=True)["va"]
    loss = tf.reduce_sum(va * tf.random.stateless_normal(va.shape, [0, 1]))
gradients = tape.gradient(loss, layer.trainable_variables)
for gradient, variable in zip(gradients, layer.trainable_variables):
    if gradient is not None:
        variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))
changed = lambda olds, news: sum(bool((old != new.numpy()).any()) for old, new in zip(olds, news))
report = {
    "trainable": len(layer.trainable_variables),
    "changed": changed(before[0], layer.trainable_variables),
    "moving_averages_changed": changed(before[1], layer.non_trainable_variables),
}
np.savez(output, **found)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    workdir = tiny.untrained_workdir(folder / "run", folder / "records")
    loaded = workdirs.load(str(workdir))
    saved_model.save(loaded, str(folder / "module"), str(workdir))
    rs = np.random.RandomState(0)
    inputs = {
        "video": rs.uniform(size=(2, 4, 32, 32, 3)).astype(np.float32),
        "audio": rs.uniform(-1, 1, (2, 20000)).astype(np.float32),
        "text": np.array([b"A red ball, rolling!", b"nothing known xyzzy"]),
    }
    np.savez(folder / "inputs.npz", **inputs)
    return folder, loaded, inputs


@pytest.fixture(scope="module")
def client(exported):
    folder, _, _ = exported
    arguments = [folder / "module", folder / "inputs.npz", folder / "outputs.npz"]
    result = subprocess.run(
        [sys.executable, "-c", CLIENT, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return np.load(folder / "outputs.npz"), json.loads(result.stdout.splitlines()[-1])


def test_every_loader_gives_what_the_python_model_gives(exported, client):
    _, loaded, inputs = exported
    outputs, _ = client
    batch = {
        "video": inputs["video"],
        "audio": loaded.pipeline.audio(tf.constant(inputs["audio"])),
        "text": loaded.pipeline.text(tf.constant(inputs["text"])),
    }
    expected = loaded.model.embed(batch)
    keys = {"video": {"va", "vat"}, "audio": {"va", "vat"}, "text": {"vat"}}
    for modality, spaces in keys.items():
        for key in {"repr", *spaces}:
            name = saved_model.BEFORE_HEAD if key == "repr" else key
            for loader in ("tf", "hub", *(["layer"] if modality != "video" or key == "repr" else [])):
                found = outputs[f"{loader}/{modality}/{name}"]
                scale = np.abs(expected[modality][key]).max()
                np.testing.assert_allclose(found, expected[modality][key], rtol=0, atol=1e-5 * scale)
    assert outputs["tf/audio/last_conv"].ndim == 4
    assert not any("last_conv" in name for name in outputs if "text" in name)


def test_fine_tuning_through_hub_changes_the_video_network_and_its_moving_averages(exported, client):
    _, loaded, _ = exported
    _, report = client
    model = loaded.model
    on_the_way = len(model.backbones["video"].trainable_variables) + len(model.heads["video -> va"].trainable_variables)
    untrained = 1  # the bias in front of a batch norm
    assert report["trainable"] == len(model.trainable_variables)
    assert report["changed"] == on_the_way - untrained
    assert report["moving_averages_changed"] > 10


def test_the_export_holds_its_configuration_and_words(exported):
    folder, _, _ = exported
    extra = folder / "module" / "assets.extra"
    assert "Graph.spaces" in (extra / "config.gin").read_text()
    assert (extra / "vocabulary.txt").read_text().split() == list(tiny.WORDS)


def test_an_export_never_overwrites(exported):
    folder, loaded, _ = exported
    with pytest.raises(FileExistsError, match="is there already"):
        saved_model.save(loaded, str(folder / "module"), str(folder / "run"))
