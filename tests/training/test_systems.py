"""The other systems of the comparison tables, gin/systems: headers, what each builds, and steps of some of them."""

import re

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny, toy
from helpers.mistyped import ROOT
from mmv_tf.common import bindings, config
from mmv_tf.evaluation import networks
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model import accumulation, losses, stepping
from mmv_tf.model.mmv import MMV
from mmv_tf.model.record_losses import Labels, Remembered
from mmv_tf.training import schedules, workdir

FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("gin/systems/*.gin"))
PARTS = ["# Published (", "# Data: ", "# Hardware and time there: ", "# Licence of the reference: "]
# system: modalities, views, pairs, clips in a batch, frames, the network of the video
SYSTEMS = {
    "aa_av_cc": (("video", "audio"), 1, 2, 512, 12, "S3D"),
    "aa_av_cc_clusters": (("video", "audio"), 1, 3, 512, 12, "S3D"),
    "avid": (("video", "audio"), 1, 2, 160, 8, "AVIDVideo"),
    "avid_cma": (("video", "audio"), 1, 4, 160, 8, "AVIDVideo"),
    "avts": (("video", "audio"), 0, 1, 64, 25, "VideoResNet"),
    "avts_hard": (("video", "audio"), 1, 2, 64, 25, "VideoResNet"),
    "brave": (("video", "audio"), 1, 2, 512, 16, "TSMResNet"),
    "cvrl": (("video",), 1, 1, 1024, 16, "VideoResNet"),
    "elo": (("video", "audio"), 2, 4, 512, 32, "VideoResNet"),
    "gdt": (("video", "audio"), 6, 16, 512, 30, "VideoResNet"),
    "gdt_text": (("video", "text"), 2, 4, 768, 30, "VideoResNet"),
    "milnce_i3d": (("video", "text"), 0, 1, 8192, 32, "I3D"),
    "milnce_s3d": (("video", "text"), 0, 1, 512, 16, "S3D"),
    "simclr_r50": (("video",), 1, 1, 4096, 1, "ResNetV1"),
    "simclr_r50x2": (("video",), 1, 1, 4096, 1, "ResNetV1"),
    "simclr_r50x4": (("video",), 1, 1, 4096, 1, "ResNetV1"),
    "vatt_bbs": (("video", "audio", "text"), 0, 2, 2048, 32, "VideoTransformer"),
    "vatt_lbs": (("video", "audio", "text"), 0, 2, 2048, 32, "VideoTransformer"),
    "vatt_ma": (("video", "audio", "text"), 0, 2, 2048, 32, "SharedTransformer"),
    "vatt_mbs": (("video", "audio", "text"), 0, 2, 2048, 32, "VideoTransformer"),
    "xdc": (("video", "audio"), 0, 2, 512, 8, "VideoResNet"),
}


def _text(file: str) -> str:
    """A gin file with its includes in their places."""
    return re.sub(r"^include '(.+)'$", lambda match: _text(match[1]), (ROOT / file).read_text(), flags=re.M)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """{macro: what a user gives}."""
    folder = tmp_path_factory.mktemp("records")
    pattern = tiny.make_records(folder, count=8, shards=2, frames=20, size=24)
    words = tiny.write_vocabulary(folder / "vocabulary.txt")
    return {"TRAIN_DATA": pattern, "AUDIOSET_DATA": pattern, "VOCABULARY": words}


def _make(file, records, *more):
    given = [f"{macro} = {records[macro]!r}" for macro in re.findall(r"^(\w+) = ''$", _text(file), re.M)]
    config.parse([file, *([f for f in more if f.endswith(".gin")])], [*given, *(p for p in more if " = " in p)])
    optimizer = gin.query_parameter("train.optimizer").scoped_configurable_fn()
    return MMV(), InputPipeline(), optimizer


def test_there_is_a_file_for_every_system():
    assert FILES == [f"gin/systems/{name}.gin" for name in SYSTEMS]


@pytest.mark.parametrize("file", FILES)
def test_a_header_states_what_is_published_and_known_and_the_command(file):
    header = re.match(r"(?:#.*\n)+", (ROOT / file).read_text())[0]
    assert [part for part in PARTS if part not in header] == []
    assert "# Known: " in header and ("# Could not be read" in header or "# From memory, not read" in header)
    command = " ".join(header[header.index("#   python -m mmv_tf.train ") :].replace("\\\n#", "").split())
    assert f"--gin_file={file} " in command and f"--workdir=runs/{file[12:-4]} " in command
    macros = [one for one in re.findall(r"--gin_param=\"([\w.]+)='", command) if "." not in one]
    assert sorted(macros) == sorted(set(re.findall(r"^(\w+) = ''$", _text(file), re.M)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_what_its_header_says_and_binds_nothing_in_vain(name, records):
    modalities, views, pairs, batch, frames, network = SYSTEMS[name]
    model, pipeline, optimizer = _make(f"gin/systems/{name}.gin", records)
    workdir.check_fit(model, pipeline)
    graph = model.graph
    assert graph.modalities == modalities == pipeline.modalities and type(model.backbones["video"]).__name__ == network
    assert (len(graph.views), len(graph.pairs), pipeline.video.num_frames) == (views, pairs, frames)
    assert gin.query_parameter("train.batch_size") == batch
    for pair in {pair.loss_name: pair for pair in graph.pairs}.values():  # a step would take their settings
        side = losses.Embeddings.single(np.full([2, graph.spaces[pair.space]], 0.5, np.float32))
        sides, there = [side] * (2 + len(pair.against)), np.ones(2, bool)
        if pair.kept == "memory":
            rows = np.full((2, 64, graph.spaces[pair.space]), 0.5, np.float32)
            sides[1:] = [Remembered(rows[:, 0], rows, rows, there, there, lambda scores, valid: 1.0)]
        if pair.kept == "table":
            sides[1:] = [Labels(np.zeros([2, 1], np.int32), there, there)]
        assert np.isfinite(pair.loss(*sides, **({"score": pair.scorer()} if pair.scorer else {})).share())
    # ESC-50 and AudioSet are told by the last map of a sound network, but for VATT's, which have none.
    if "audio" in model.backbones and not name.startswith("vatt"):
        assert model.backbones["audio"].has_last_conv
    refresh = gin.get_bindings("mmv_tf.training.run.train").get("refresh")
    assert set(refresh.what.widths if refresh else ()) == set(graph.tables)
    assert [one for one in bindings.unused() if not one.startswith("train.")] == []
    if callable(optimizer._learning_rate):  # otherwise it is constant
        assert float(optimizer._learning_rate(0)) <= float(optimizer._learning_rate(50_000))


TINY = [
    "gin/models/tiny.gin",
    f"LogMel.sample_rate = {tiny.SAMPLE_RATE}",
    "LogMel.window = 256",
    "LogMel.stride = 128",
    "LogMel.num_bins = 16",
    "LogMel.max_frequency = 3800.0",
    "VideoInput.num_frames = 2",
    "VideoInput.min_side = 20",
    "VideoInput.crop_size = 16",
    "VideoInput.jit_compile = False",
]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        (
            "aa_av_cc_clusters",
            ["S3D.final_endpoint = 'Conv2d_2b_1x1'", "AudioResNet.depth = 10", "AudioResNet.width = 0.1"],
        ),
        ("avts_hard", ["VideoResNet.width = 0.0625", "PlainCNN.channels = ((8,),)", "PlainCNN.units = 8"]),
        ("simclr_r50", ["ResNetV1.depth = 9", "ResNetV1.width = 0.125"]),
        ("vatt_bbs", [f"Waveform.sample_rate = {tiny.SAMPLE_RATE}"]),
        ("vatt_ma", [f"Waveform.sample_rate = {tiny.SAMPLE_RATE}"]),
    ],
)
def test_a_tiny_step_of_a_system(name, more, records):
    model, pipeline, optimizer = _make(f"gin/systems/{name}.gin", records, *TINY, *more)
    model.compile(optimizer=optimizer)
    model.build_by_call(pipeline.zeros(1))
    before = {n: v.numpy() for n, v in model.named_variables().items()}
    (batch,) = pipeline.training_dataset(4).take(1)
    optimizer.iterations.assign(1)  # the rate of the first step is 0 where it warms up
    sums = model.take_step(batch).numpy()
    assert np.isfinite(sums).all() and sums[0, 0] > 0
    after = {n: v.numpy() for n, v in model.named_variables().items()}
    assert all(np.isfinite(value).all() for value in after.values())
    changed = {n.partition("/")[0] for n, value in after.items() if not np.array_equal(before[n], value)}
    assert changed == {*model.backbones, *model.heads, *model.scorers}
    # What export and evaluation then look at: the modalities, of which there may be one.
    network = networks.of_model(model, pipeline)
    assert set(network.outputs) == set(model.graph.modalities) and network.outputs["video"][0] == "before_head"
    if name.startswith("vatt"):
        with pytest.raises(ValueError, match="no output 'last_conv' for audio; it has before_head, va, vat"):
            network.function("audio", "last_conv")
        found = network.function("audio", "va")(batch["audio"])
        np.testing.assert_allclose(found, model.embed({"audio": batch["audio"]})["audio"]["va"], rtol=1e-3, atol=1e-4)
    if name.startswith("simclr"):
        frames = tf.cast(tf.round(255 * batch["video"]), tf.uint8)
        seen = network.function("video", "v")(frames)
        np.testing.assert_allclose(seen, model.embed({"video": batch["video"]})["video"]["v"], rtol=1e-3, atol=1e-4)


def test_a_record_that_is_too_short_for_hard_negatives_is_named(records):
    longer = ["VideoInput.num_frames = 8", "VideoInput.frame_rate = 8.0"]
    _, pipeline, _ = _make("gin/systems/avts_hard.gin", records, *TINY, *longer)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="20 frames, and the time of .*views.audio_shifted needs 25"
    ):
        next(iter(pipeline.training_dataset(2)))


INVENTED = """
include 'gin/data/records.gin'
Graph.spaces = {'v': 8, 'va': 8, 'p': 8}
Graph.views = {'video_late': 'video', 'audio_back': 'audio'}
Graph.heads = [
    ('video', 'v', {'hidden': (8,), 'batch_norm': True}),
    ('video_late', 'v'),  # a head of its own
    ('v', 'p', {'hidden': (8,)}),
    ('video', 'va'),
    ('audio', 'va', {'hidden': (8,)}),
]
Graph.pairs = [
    ('video', 'video_late', 'v', {'loss': @nt_xent}),
    ('video', 'video_late', 'p', {'loss': @regression, 'second_space': 'v', 'weight': 0.25}),
    ('video', 'audio', 'va', {'loss': @info_nce, 'against': ('audio_back',), 'against_own': True}),
    ('audio', 'video', 'va', {'loss': @margin, 'against': ('video_late',), 'against_own': True, 'weight': 0.5}),
]
info_nce.stop_keys = True
margin.normalize = True
InputPipeline.views = {
    'video_late': ('video', {'time': @nearby(), 'video': @other/VideoInput()}),
    'audio_back': ('audio', {'to': 'video_late', 'reverse': True}),
}
nearby.seconds = 0.5
other/VideoInput.grey_probability = 1.0
InputPipeline.modalities = ('video', 'audio')
MMV.graph = @Graph()
MMV.backbones = {'video': @S3D(), 'audio': @PlainCNN()}
PlainCNN.channels = ((8,),)
PlainCNN.units = 8
train.optimizer = @LARS
LARS.learning_rate = @warmup_cosine()
warmup_cosine.total_steps = %STEPS
warmup_cosine.warmup_steps = 0
warmup_cosine.of_batch = 8
train.steps = %STEPS
"""


def _step(model, batch, is_last):
    """One step, as `MMV.take_step` takes it, without the time to trace it; the logs {name: this replica's sum}.

    Of the last one nobody sees where it ends: the losses alone.
    """
    variables = model.trainable_variables
    if is_last:
        _, logs = model.compute_losses(batch, training=True)
    else:
        gradients, logs = accumulation.gradients(model, batch, variables, 1)
        stepping.step(model.optimizer, gradients, variables)
    return {name: total for name, (total, _) in logs.items() if "loss" in name}


def test_a_system_that_nobody_has_published_is_gin_alone(records, tmp_path):
    """Two views, one-sided losses, further negatives and heads of its own; two replicas see what one does."""
    (tmp_path / "invented.gin").write_text(INVENTED)
    more = [f"TRAIN_DATA = {records['TRAIN_DATA']!r}", "STEPS = 2", "warmup_cosine.warmup_steps = 0"]
    more += ["S3D.final_endpoint = 'Conv2d_2b_1x1'", *(line for line in TINY if " = " in line)]
    config.parse([str(tmp_path / "invented.gin"), "gin/models/tiny.gin"], more)
    logs, pipeline = [], InputPipeline()
    batches = list(pipeline.training_dataset(4).take(2))
    for strategy in (tf.distribute.get_strategy(), toy.mirrored(2)):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = MMV()
            workdir.check_fit(model, pipeline)
            optimizer = gin.query_parameter("train.optimizer").scoped_configurable_fn()
            model.compile(optimizer=schedules.for_batch(optimizer, 4))
            model.build_by_call(pipeline.zeros(1))
            model.optimizer.build(model.trainable_variables)
        each = 4 // strategy.num_replicas_in_sync
        for number, batch in enumerate(batches):
            part = strategy.experimental_distribute_values_from_function(
                lambda c, batch=batch, b=each: {n: v[c.replica_id_in_sync_group * b :][:b] for n, v in batch.items()}
            )
            found = strategy.run(_step, args=(model, part, number == 1))
            sums = {name: sum(map(float, strategy.experimental_local_results(of))) for name, of in found.items()}
            logs.append(sums)
    assert len(logs) == 4 and len(logs[0]) == 5 and all(map(np.isfinite, logs[1].values())) and logs[0] != logs[1]
    for one, two in zip(logs[:2], logs[2:], strict=True):  # the second step, too: the first has changed the weights
        assert one.keys() == two.keys()
        np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "batch", "rate"),
    [("simclr_r50", 4096, 4.8), ("simclr_r50x4", 64, 0.075), ("gdt", 512, 0.64), ("gdt", 64, 0.08), ("cvrl", 64, 0.02)],
)
def test_the_rate_is_that_of_the_batch(name, batch, rate, records):
    _, _, optimizer = _make(f"gin/systems/{name}.gin", records)
    schedule = schedules.for_batch(optimizer, batch)._learning_rate
    assert max(float(schedule(step)) for step in (1787, 3127, 35_001)) == pytest.approx(rate)
