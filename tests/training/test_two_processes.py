"""MultiWorkerMirroredStrategy for real: two processes on this machine, as a user starts them.

One pair is broken by the death of a process, a second one goes on and is asked to stop. What it computed is compared
with one process at the same global batch; with SGD, since Adam turns the rounding noise in gradients that should be
zero (a bias before batch norm) into steps of the size of the learning rate; and with a small rate, at which a change of
the first weights by 3e-8 changes the loss of one process by less than 1e-4 in these steps.
"""

import json
import signal
import socket
import time

import numpy as np
import pytest
import tensorflow as tf

from helpers import processes, runs, tiny_vt
from mmv_tf.training import workdir as workdirs

COMPARED = 10  # steps: three times all records, and the resumed pair is in its second time


@pytest.fixture(scope="module")
def bindings(tmp_path_factory):
    return [*tiny_vt.bindings(tmp_path_factory.mktemp("data")), f"train.keep_every = {COMPARED}"]


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class _Pair:
    """Two training processes; what each prints goes to a file."""

    def __init__(self, workdirs_, bindings, logs):
        cluster = {"worker": [f"localhost:{port}" for port in _free_ports(2)]}
        self.processes = []
        for index, workdir in enumerate(workdirs_):
            log = logs / f"{index}.log"
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            command = tiny_vt.command(workdir, bindings, "--distribution_strategy=multi_worker_mirrored")
            self.processes.append(processes.command(log, command, {"TF_CONFIG": json.dumps(task)}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()

    def output(self, index):
        return self.processes[index].output()

    def wait_for(self, path):
        while not path.exists():
            ended = [index for index, process in enumerate(self.processes) if process.poll() is not None]
            assert not ended, self.output(ended[0])[-3000:]
            time.sleep(0.02)

    def statuses(self):
        return [process.wait() for process in self.processes]


@pytest.fixture(scope="module")
def broken_and_resumed(bindings, tmp_path_factory):
    """The folder of the run, that of the second process, and what happened to the two pairs."""
    folder = tmp_path_factory.mktemp("two")
    first, second = folder / "run", folder / "second"
    (first / "checkpoints").mkdir(parents=True)
    second.mkdir()
    # The second process restores from the same checkpoints; whatever else it were to write, it would write here.
    (second / "checkpoints").symlink_to(first / "checkpoints")
    endless = [*bindings, "STEPS = 1000000"]
    with _Pair([first, second], endless, folder) as broken:
        broken.wait_for(first / "checkpoints" / "ckpt-4.index")
        broken.processes[1].kill()
        broken_status, broken_output = broken.processes[0].wait(), broken.output(0)
    saved = runs.newest(first)
    with _Pair([first, second], endless, folder) as resumed:
        resumed.wait_for(first / "checkpoints" / "kept" / f"ckpt-{COMPARED}.index")
        resumed.processes[1].send_signal(signal.SIGTERM)
        statuses = resumed.statuses()
    return {
        "run": first,
        "second": second,
        "broken": (broken_status, broken_output),
        "saved": saved,
        "statuses": statuses,
        "outputs": [resumed.output(0), resumed.output(1)],
        "chiefs": [broken.processes[0].pid, resumed.processes[0].pid],
    }


def test_a_dead_process_ends_the_other_one_in_one_line(broken_and_resumed):
    status, output = broken_and_resumed["broken"]
    assert status == 2, output[-3000:]
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Another process of this run has ended or does not answer" in errors[0]


def test_the_next_pair_goes_on_and_stops_together_when_one_is_asked_to(broken_and_resumed):
    outputs, saved = broken_and_resumed["outputs"], broken_and_resumed["saved"]
    assert broken_and_resumed["statuses"] == [128 + signal.SIGTERM] * 2, outputs[0][-3000:] + outputs[1][-3000:]
    assert saved >= 4
    for output in outputs:
        assert f"resumed from step {saved} of" in output
        assert "SIGTERM" in output and "the checkpoint is written, and the same command goes on from there" in output
    run = broken_and_resumed["run"]
    assert runs.newest(run) == max(runs.losses(run)) >= COMPARED


def test_the_first_process_alone_writes(broken_and_resumed):
    run = broken_and_resumed["run"]
    assert [path.name for path in broken_and_resumed["second"].iterdir()] == ["checkpoints"]
    assert {"checkpoints", "config.gin", "vocabulary.txt"} <= {path.name for path in run.iterdir()}
    writers = {int(path.name.split(".")[-3]) for path in run.rglob("events.*")}
    assert writers == set(broken_and_resumed["chiefs"])
    assert not list(run.rglob("*_temp"))


def test_two_processes_compute_what_one_does(broken_and_resumed, bindings, tmp_path):
    command = tiny_vt.command(tmp_path, [*bindings, f"STEPS = {COMPARED}"])
    process = processes.command(tmp_path / "log.txt", command)
    assert process.wait() == 0, process.output()
    run = broken_and_resumed["run"]
    one, two = runs.losses(tmp_path), runs.losses(run)
    assert sorted(one) == list(range(1, COMPARED + 1))
    expected = [one[step] for step in range(1, COMPARED + 1)]
    got = [two[step] for step in range(1, COMPARED + 1)]
    np.testing.assert_allclose(got[:5], expected[:5], rtol=1e-5)
    np.testing.assert_allclose(got, expected, rtol=2e-4)

    loaded = workdirs.load(str(tmp_path))
    batch = loaded.pipeline.zeros(4)
    noise = tf.random.stateless_uniform(batch["video"].shape, seed=[0, 0])
    batch = {**batch, "video": noise, "text": tf.constant([[[1, 2]], [[2, 3]], [[4, 0]], [[5, 6]]])}
    expected = loaded.model.embed(batch)
    averages = {n: v.numpy() for n, v in loaded.model.named_variables().items() if "moving" in n}
    step = tf.Variable(0, dtype=tf.int64)
    workdirs.restore(
        workdirs.make_checkpoint(loaded.model, step), str(run / "checkpoints" / "kept" / f"ckpt-{COMPARED}")
    )
    assert int(step) == COMPARED and averages
    for name, variable in loaded.model.named_variables().items():
        if name in averages:
            np.testing.assert_allclose(variable, averages[name], rtol=1e-3, atol=1e-4, err_msg=name)
    got = loaded.model.embed(batch)
    for modality in ("video", "text"):
        difference = np.linalg.norm(got[modality]["vt"] - expected[modality]["vt"], axis=-1)
        # Batch norm of a unit that is all but constant in so small a batch multiplies rounding by up to 300.
        np.testing.assert_array_less(difference, 3e-3 * np.linalg.norm(expected[modality]["vt"], axis=-1))
