"""What can be known of a Dataflow job without the cloud: its options and graph, and workers elsewhere.

Where those workers run, TensorFlow cannot be imported. Their package: tests/commands/test_packaging.py.
"""

import hashlib
import os
import pathlib
import re
import shlex
import sys

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.transforms.environments import DockerEnvironment

import mmv_tf
from helpers import memory_files  # noqa: F401  (mem://, for want of Google's packages)
from helpers.videos import write_video
from mmv_tf.beam import job, pipeline, preprocess
from mmv_tf.beam.decoding import decode_source
from mmv_tf.beam.specs import ClipSpec, Inputs, Settings, Source

ROOT = pathlib.Path(__file__).parents[2]
LABELS = {f"label {n}": n for n in range(1000)}


class DataflowRunner:
    """The validator asks for the name of the class; the real one needs Google's packages."""


def _commands():
    """The Dataflow commands of the documentation, as lists of arguments."""
    text = (ROOT / "docs" / "dataflow.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"^python -m mmv_tf\.beam\.preprocess(.*DataflowRunner.*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_documented_commands_are_valid_jobs(tmp_path, monkeypatch, caplog):
    (tmp_path / "clips.csv").write_text("video_path,start,end\na.mp4,0,10\n")
    (tmp_path / "setup.py").touch()
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(job, "preprocess", lambda *args: seen.append(args) or 0)
    commands = _commands()
    assert len(commands) == 2
    for command in commands:
        assert preprocess.cli(command) == 0
        inputs, root, output, _, num_shards, settings, options = seen[-1]
        assert PipelineOptionsValidator(options, DataflowRunner()).validate() == []
        assert options.view_as(StandardOptions).runner == "DataflowRunner"
        assert [source.path for source in inputs.sources] == ["a.mp4"]
        assert root.startswith("gs://") and output.startswith("gs://")
        assert num_shards is None and settings == Settings()
        assert options.view_as(GoogleCloudOptions).region
    images = [options.view_as(WorkerOptions).sdk_container_image for *_, options in seen]
    setups = [options.view_as(SetupOptions).setup_file for *_, options in seen]
    assert [bool(image) for image in images] == [True, False] and [bool(file) for file in setups] == [False, True]


def _graph(num_files, num_shards=8):
    files = [f"mem://records/out/.staging-train/sources-{n:05d}.jsonl" for n in range(num_files)]
    graph = beam.Pipeline()
    pipeline.build(graph, files, "mem://videos", "mem://records/out", "train", Settings(), LABELS, num_shards)
    return graph.to_runner_api(default_environment=DockerEnvironment("image:1"))


@pytest.fixture(scope="module")
def graph():
    return _graph(5)


def _leaves(proto):
    transforms = proto.components.transforms
    return {t.unique_name: t for t in transforms.values() if t.spec.urn and not t.subtransforms}


def test_the_graph_has_no_step_for_a_single_worker(graph):
    leaves = _leaves(graph)
    groupings = [name for name, t in leaves.items() if t.spec.urn == common_urns.primitives.GROUP_BY_KEY.urn]
    # One by shard; the others, by random keys, only spread the work (a Create of several elements does so by itself).
    assert [name.split("/")[0] for name in sorted(groupings)] == ["Files", "GroupByShard", "Shards", "SpreadSources"]
    assert all(re.search("Reshuffle|SpreadSources|GroupByShard", name) for name in groupings)
    for name, transform in leaves.items():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            assert not payload.side_inputs, name
            assert not payload.state_specs and not payload.timer_family_specs, name


def test_the_job_does_not_grow_with_the_dataset(graph):
    # HowTo100M's 1.2 million sources with their captions are about 13,000 files. Dataflow takes jobs of up to 10 MB.
    small, large = graph.ByteSize(), _graph(13_000, 16_384).ByteSize()
    assert large - small < 1e6 and large < 2e6


def test_every_step_pickles_small(graph):
    leaves = _leaves(graph)
    payloads = {}
    for name, transform in leaves.items():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payloads[name] = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
    assert {"DecodeSource", "WriteShard"} < payloads.keys() and max(map(len, payloads.values())) < 50_000


@pytest.fixture
def no_tensorflow(tmp_path):
    """The environment of processes that find mmv_tf but no TensorFlow."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "tensorflow.py").write_text("raise ImportError('no TensorFlow here')")
    home = pathlib.Path(mmv_tf.__file__).parents[1]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(home)])}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", seconds=2)
    write_video(folder / "b.mkv", seconds=1, sound_codec=None)
    (folder / "c.mp4").write_text("no video")
    return folder


def _preprocess(videos, output, *flags):
    sources = [Source(name, (ClipSpec(),)) for name in ("a.mp4", "b.mkv", "c.mp4")]
    settings = Settings(short_side=32, clip_seconds=1.0)
    assert job.preprocess(Inputs(sources), str(videos), str(output), "train", 3, settings, PipelineOptions(flags)) == 0
    return _digests(output)


def _digests(output):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(output.iterdir())}


def test_an_external_worker_pool_writes_the_same_bytes(videos, tmp_path, no_tensorflow, monkeypatch):
    """A portable job: the graph travels as a message, the steps as pickles, the work is done in another process, which
    understands them without TensorFlow."""
    here = _preprocess(videos, tmp_path / "here", "--direct_num_workers=1", "--direct_running_mode=multi_threading")
    monkeypatch.setenv("PYTHONPATH", no_tensorflow["PYTHONPATH"])
    monkeypatch.setenv("PATH", os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setattr(decode_source.DecodeClient, "ask", None)  # in this process no source can be decoded
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    try:
        flags = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
        there = _preprocess(videos, tmp_path / "there", *flags, f"--environment_config={address}")
    finally:
        server.stop(1).wait()
    assert here == there and len(here) == 5
