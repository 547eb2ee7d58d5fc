"""Strategies by their flags, one error for each mistake, and what a single process knows of the others: nothing."""

import argparse
import json

import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.training import strategies

CLUSTER = {"worker": ["localhost:1", "localhost:2"]}


def _parse(*argv):
    parser = argparse.ArgumentParser()
    strategies.add_arguments(parser)
    return parser.parse_args(argv)


def test_one_device_is_the_default_and_mirrored_takes_what_there_is():
    assert isinstance(strategies.from_flags(_parse()), tf.distribute.OneDeviceStrategy)
    mirrored = strategies.from_flags(_parse("--distribution_strategy=mirrored"))
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    assert mirrored.num_replicas_in_sync == max(1, len(tf.config.list_physical_devices("GPU")))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--distribution_strategy=tpu"], "A TPU needs --tpu=NAME"),
        (["--distribution_strategy=mirrored", "--tpu=v3"], "--tpu is for a TPU, and the strategy is mirrored"),
        (["--tpu_zone=europe-west4-a"], "--tpu_zone is for a TPU, and the strategy is one_device"),
        (["--tpu=local"], "The TPU 'local' .*was not found or did not start: "),
        (["--distribution_strategy=multi_worker_mirrored"], "TF_CONFIG is not set. Each process needs it"),
    ],
)
def test_mistakes_are_named(argv, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=message):
        strategies.from_flags(_parse(*argv))


@pytest.mark.parametrize("zone", [None, "europe-west4-a"])
def test_a_tpu_is_looked_up_where_the_flags_say(zone, monkeypatch):
    asked = []

    def resolver(tpu, zone=None, project=None):
        asked.append((tpu, zone, project))
        raise ConnectionError("no route to the metadata server")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    argv = ["--tpu=v4-8"] + ([f"--tpu_zone={zone}", "--tpu_project=p"] if zone else [])
    with pytest.raises(ValueError, match="The TPU 'v4-8' .*no route to the metadata server"):
        strategies.from_flags(_parse(*argv))
    assert asked == [("v4-8", zone, "p" if zone else None)]


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ("{", "JSONDecodeError"),
        ('["localhost:1"]', "TypeError"),
        (json.dumps({"cluster": CLUSTER}), "KeyError: 'task'"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}), "IndexError"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}), "worker -1 is not one of"),
        (json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": "0"}}), "TypeError"),
        (json.dumps({"cluster": {"ps": ["h:1"]}, "task": {"type": "ps", "index": 0}}), "ps 0 is not one of"),
        (json.dumps({"cluster": {"worker": ["host"]}, "task": {"type": "worker", "index": 0}}), "no port"),
    ],
)
def test_a_malformed_tf_config_is_shown_with_an_example(config, fault, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=rf"TF_CONFIG is malformed \(.*{fault}.*Each process needs it") as error:
        strategies.from_flags(_parse("--distribution_strategy=multi_worker_mirrored"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("strategy", [tf.distribute.get_strategy, lambda: toy.mirrored(2)])
def test_one_process_is_the_chief_and_alone(strategy):
    assert strategies.is_chief(strategy())
    assert strategies.everyone(strategy(), 7) == [7]


def test_an_error_that_is_not_about_another_process_stays_as_it_is():
    with pytest.raises(tf.errors.UnavailableError), strategies.lost_worker_in_one_line(tf.distribute.get_strategy()):
        raise tf.errors.UnavailableError(None, None, "gs:// does not answer")
