"""The embedding job beside a plain loop over the same clips: what Beam costs.

    python benchmarks/embedding.py --records 'records/test-*' --module exported/fac

Both cut the same clips by the same code and run the same signatures in batches of the same size; the loop has neither
Beam nor staging nor Parquet. One process, one worker, taking turns. Wall time is noisy on a machine that does other
work; CPU time is less so.
"""

import argparse
import contextlib
import io
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def plain_loop(job, settings) -> int:
    """Embeds everything and keeps the vectors; the number of rows."""
    from mmv_tf.export.embedding import clip_cutter, pipeline
    from mmv_tf.export.embedding import inputs as embed_inputs

    cutter = clip_cutter.ClipCutter(settings, job.signatures)
    handlers = {name: pipeline.ModuleHandler(job.module, name, job.batch_size) for name in job.signatures}
    model, waiting, rows = pipeline.load_module(job.module), {name: [] for name in job.signatures}, []
    reader = embed_inputs.RecordReader()

    def run(name):
        rows.extend(handlers[name].run_inference(waiting[name], model))
        waiting[name] = []

    for unit in embed_inputs.record_units(job.source)[0]:
        for read in reader.read(unit):
            for item in cutter.cut(read.serialized):
                waiting[item.modality].append(item.value)
                if len(waiting[item.modality]) == job.batch_size:
                    run(item.modality)
    for name in (name for name in waiting if waiting[name]):
        run(name)
    return len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--signatures", default="video,audio")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    import logging

    logging.getLogger().setLevel(logging.ERROR)
    from apache_beam.options.pipeline_options import PipelineOptions

    from mmv_tf.export import module_files
    from mmv_tf.export.embedding import job as embed_run

    found, names = module_files.signatures(args.module), args.signatures.split(",")
    dims = {(name, space): dim for name in names for space, dim in found[name].spaces.items() if space != "before_head"}
    limits = {"timeout_seconds": 60.0, "max_memory_bytes": 2 << 30}
    job = embed_run.Job("records", args.records, args.module, "", dims, args.batch_size, 8, limits)
    settings = embed_run.clip_settings(job)
    options = PipelineOptions(["--direct_num_workers=1", "--direct_running_mode=multi_threading"])

    def with_beam():
        import dataclasses

        with tempfile.TemporaryDirectory() as output, contextlib.redirect_stderr(io.StringIO()):
            with contextlib.redirect_stdout(io.StringIO()):
                embed_run.run(dataclasses.replace(job, output=output), options)

    def timed(function):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return time.perf_counter() - wall, time.process_time() - cpu

    inputs = plain_loop(job, settings)  # warms up TensorFlow for both
    times = {"plain loop": [], "beam": []}
    for _ in range(args.rounds):
        times["plain loop"].append(timed(lambda: plain_loop(job, settings)))
        times["beam"].append(timed(with_beam))
    for name, measured in times.items():
        wall, cpu = (min(column) for column in zip(*measured, strict=True))
        print(f"{name}: {inputs} inputs, {inputs / wall:.1f} a second, {1000 * cpu / inputs:.1f} CPU-ms each")


if __name__ == "__main__":
    main()
