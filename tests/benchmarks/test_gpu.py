"""The measurements for a graphics card: what is told of two devices, and results that outlive a job that fails."""

import json
import os
import pathlib
import subprocess
import time

import keras
import pytest
import tensorflow as tf

from benchmarks.gpu import jobs, run
from helpers.processes import assert_ends
from mmv_tf.backbones import S3D, AudioResNet

CARD = "/GPU:0" if tf.config.list_physical_devices("GPU") else ""


class OtherOnASecondDevice(keras.layers.Layer):
    """Two dense layers; the second one adds 1 where the device is not the first."""

    def __init__(self):
        super().__init__()
        self.one, self.other = keras.layers.Dense(3, name="one"), keras.layers.Dense(2, name="other")

    def call(self, x, training=False):
        return self.endpoints(x, training)["other"]

    def endpoints(self, x, training=False):
        one = self.one(x)
        other = self.other(one)
        return {"one": one, "other": other + float("CPU:0" not in tf.identity(x).device)}


def test_devices_are_compared_layer_by_layer():
    keras.utils.set_random_seed(0)
    found = jobs.differences(OtherOnASecondDevice, tf.ones([2, 4]), ("/CPU:0", "/CPU:1"), "float64")
    assert list(found)[:2] == ["one", "other"] and found["one"] == 0 and found["other"] > 0.1
    assert found["gradient of one/kernel"] > 0.1
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.skipif(not CARD, reason="needs a GPU: CUDA_VISIBLE_DEVICES=0 make test ROOM=benchmarks/test_gpu.py")
@pytest.mark.parametrize(
    "make, shape", [(lambda: S3D("rgb", width=0.25), (4, 8, 48, 48, 3)), (AudioResNet, (4, 40, 40, 1))]
)
def test_a_card_computes_what_the_processor_does(make, shape):
    x = tf.random.stateless_uniform(shape, [1, 2])
    # In float64 rounding is out of the question.
    assert max(jobs.differences(make, x, ("/CPU:0", CARD), "float64").values()) < 1e-9


def test_a_job_that_fails_is_a_result_and_is_not_done_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "JOBS", (jobs.Job("nothing", "of that name", "nothing"),))
    output = tmp_path / "gpu.json"
    run.main(["--tiny", "--output", str(output)])
    found = json.loads(output.read_text())["nothing"]
    assert found["failed"] == "exit status 2" and "invalid choice: 'nothing'" in found["output"]
    output.write_text(json.dumps({"nothing": {**found, "failed": "before"}}))
    run.main(["--tiny", "--output", str(output)])
    assert "failed before" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(SystemExit):  # those of real networks do not go among them
        run.main(["--output", str(output)])
    assert "has results of the other size" in capsys.readouterr().err


def test_what_a_job_has_started_ends_with_it(tmp_path, monkeypatch):
    class TooSlow(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout is None:
                return super().wait()
            while not (tmp_path / "begun").exists():  # its time is over when that is there, however long it takes
                time.sleep(0.02)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(run.subprocess, "Popen", TooSlow)
    script = f"sleep 600 & echo $! > {tmp_path}/child; echo begun; touch {tmp_path}/begun; wait"
    assert run._output(["sh", "-c", script], dict(os.environ), 0.5) == ("begun\n", "not done after 0.5 s")
    assert_ends(int((tmp_path / "child").read_text()))


def test_every_job_is_there():
    names = [job.name for job in jobs.JOBS]
    assert len(set(names)) == len(names)
    assert all(callable(getattr(jobs, job.function)) for job in jobs.JOBS)
    assert pathlib.Path(run.ROOT, "benchmarks", "gpu", "jobs.py").exists()
