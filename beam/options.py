"""Apache Beam as commands use it: its options, and a pipeline that leaves nothing behind."""

import argparse
import contextlib
import importlib
import tempfile


@contextlib.contextmanager
def pipeline(options):
    """A beam.Pipeline, which runs when the block ends.

    Beam leaves four empty folders of each run in the system's temporary folder: here they go with the run.
    """
    import apache_beam as beam

    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="mmv_tf-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            with beam.Pipeline(options=options) as built:
                yield built
        finally:
            tempfile.tempdir = before


def parse(parser, flags):
    """PipelineOptions of what a command does not know itself; an unknown option ends it, since Beam only warns.

    Without a runner and without a number of workers, Beam's DirectRunner uses a thread a core.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

    runner = PipelineOptions(flags).view_as(StandardOptions).runner or "DirectRunner"
    if "." in runner:  # a class by its full name: the options of its own are known when its module is imported
        try:
            importlib.import_module(runner.rpartition(".")[0])
        except ImportError as error:
            parser.error(f"--runner {runner}: {error}")
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(known)
    unknown = known.parse_known_args(flags)[1]
    if unknown:
        parser.error(f"unknown option {unknown[0]}: neither of this program nor of Apache Beam")
    options = PipelineOptions(flags)
    direct = options.view_as(DirectOptions)
    if runner == "DirectRunner":
        # Decoding happens in one child process a worker thread: threads start at once, processes take 10 s.
        if not any(flag.startswith("--direct_num_workers") for flag in flags):
            direct.direct_num_workers = 0  # as many as there are cores
        if not any(flag.startswith("--direct_running_mode") for flag in flags):
            direct.direct_running_mode = "multi_threading"
    return options
