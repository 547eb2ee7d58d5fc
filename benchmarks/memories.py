"""Time of a training step against the number of records whose vectors AVID's memories hold, on a CPU.

    python -m benchmarks.memories --output benchmarks/results/memories.json

A row is a process: a network that takes next to no time, two memories of N x 128 with 1,024 negatives a sample, and
the step as training takes it: on one device, compiled by XLA, and on two replicas, which hold all of it each. Time is
the least and the median of `--repeats` rounds of ten steps; memory is the most that the process had, before there were
memories and at the end. What a step costs has to grow with the batch, and not with N.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECORDS = (18_000, 1_800_000)
BATCHES = (16, 64)
WAYS = ("one device", "XLA", "two replicas")
_STEPS = 10


def _model(strategy, compiled: bool):
    import keras

    from mmv_tf.model.graph import Graph
    from mmv_tf.model.memory import Memory
    from mmv_tf.model.mmv import MMV
    from mmv_tf.model.record_losses import memory_nce

    class Nothing(keras.layers.Layer):
        output_dim = 16

        def call(self, x, training=False):
            return keras.ops.reshape(x, (-1, 16))

    pairs = [(a, f"memory:{b}", "va", {"loss": memory_nce}) for a, b in (("video", "audio"), ("audio", "video"))]
    memories = {(name, "va"): Memory() for name in ("video", "audio")}
    with strategy.scope():
        graph = Graph({"va": 128}, [("video", "va"), ("audio", "va")], pairs, memories=memories)
        model = MMV(backbones={"video": Nothing(), "audio": Nothing()}, graph=graph)
        model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=compiled)
        model.build_by_call(_batch(2, 2))
        model.optimizer.build(model.trainable_variables)
    return model


def _batch(size: int, records: int):
    import tensorflow as tf

    index = tf.random.stateless_uniform([size], [0, 0], 0, records, tf.int32)
    inputs = {name: tf.random.stateless_normal([size, 16], [0, 1]) for name in ("video", "audio")}
    return {**inputs, "index": index}


def _most() -> float:
    """GB that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(records: int, batch: int, way: str, repeats: int) -> dict:
    """One row, in this process."""
    import tensorflow as tf

    from mmv_tf.common import batches

    batches.keep_freed_memory()  # as the command does
    strategy = tf.distribute.get_strategy()
    if way == "two replicas":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    model = _model(strategy, way == "XLA")
    before = _most()
    with strategy.scope():
        model.keep_records(records, "0" * 32)
    started = time.perf_counter()
    model.per_record.begin(0)
    began = time.perf_counter() - started
    take_step = model.compiled_step() if way == "XLA" else model.take_step
    whole = _batch(batch, records)
    each = batch // strategy.num_replicas_in_sync
    parts = strategy.experimental_distribute_values_from_function(
        lambda context: {n: v[context.replica_id_in_sync_group * each :][:each] for n, v in whole.items()}
    )

    @tf.function
    def steps(count):
        for _ in tf.range(count):
            strategy.run(take_step, args=(parts,))

    steps(tf.constant(2))
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        steps(tf.constant(_STEPS))
        times.append((time.perf_counter() - started) / _STEPS)
    return {
        "records": records,
        "batch": batch,
        "way": way,
        "least_ms": 1e3 * min(times),
        "median_ms": 1e3 * statistics.median(times),
        "kept_gb_a_device": model.per_record.bytes / 1e9,
        "process_gb_before": before,
        "process_gb_most": _most(),
        "begin_seconds": began,
    }


def table(rows: list[dict]) -> str:
    """Markdown."""
    lines = ["| step | clips | " + " | ".join(f"{n:,} records" for n in RECORDS) + " | kept, of the most |"]
    lines.append("|---|---|---|---|---|")
    for way in WAYS:
        for batch in BATCHES:
            found = {row["records"]: row for row in rows if (row["way"], row["batch"]) == (way, batch)}
            cells = [f"{found[n]['least_ms']:.1f} ms" if n in found else "-" for n in RECORDS]
            last = found.get(RECORDS[-1])
            kept = f"{last['kept_gb_a_device']:.2f} GB of {last['process_gb_most']:.1f} GB" if last else "-"
            lines.append(f"| {way} | {batch} | {' | '.join(cells)} | {kept} |")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.row:
        records, batch, way = args.row
        print(json.dumps(measure(int(records), int(batch), way, args.repeats)))
        return
    rows = []
    for way in WAYS:
        for batch in BATCHES:
            for records in RECORDS:
                row = [str(records), str(batch), way]
                command = [sys.executable, "-m", "benchmarks.memories", "--repeats", str(args.repeats), "--row", *row]
                done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    print(table(rows))
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
