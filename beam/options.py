"""Apache Beam as commands use it: its options, and a pipeline that leaves nothing behind."""

import argparse
import contextlib
import importlib
import logging
import os
import re
import sys
import tempfile

from mmv_tf.common import command, orphans

# The last of 'RuntimeError: OSError: [Errno 28] ...'
_CAUSE = re.compile(r"(?:[\w.]*(?:Error|Exception): )*?(?:[\w.]+\.)?(\w+Error): (?![\w.]*(?:Error|Exception): )(.+)")
_OF_FILES = frozenset(
    "OSError PermissionError FileNotFoundError NotADirectoryError IsADirectoryError FileExistsError BeamIOError "
    "ResourceExhaustedError PermissionDeniedError NotFoundError UnavailableError".split()
)


class _WithoutTracebacks:
    """Standard error without the pages that Beam prints about an error, besides raising it."""

    def __init__(self, stream):
        self._stream, self._dropped = stream, False

    def write(self, text):
        is_line_end = self._dropped and text == "\n"  # print() writes it apart
        self._dropped = text.startswith("Traceback (most recent call last)")
        return len(text) if self._dropped or is_line_end else self._stream.write(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def begin_worker():
    """For the setup of a DoFn: a worker process of its own ends with the one that began the run, and prints no page."""
    is_process = orphans.exit_with_parent()
    if is_process and not os.environ.get(command.TRACEBACK) and not isinstance(sys.stderr, _WithoutTracebacks):
        sys.stderr = _WithoutTracebacks(sys.stderr)
        logging.getLogger().setLevel(logging.CRITICAL)


@contextlib.contextmanager
def pipeline(options, output):
    """A beam.Pipeline, which runs when the block ends.

    Beam leaves four empty folders of each run in the system's temporary folder: here they go with the run. Its worker
    processes, if there are any, end with this one, however it ends.

    Args:
      output: where the run writes, for messages.
    Raises:
      OSError: a disk is full, a folder may not be written, ...: one line, where Beam has hundreds.
      ValueError: what a step of ours says.
    """
    import apache_beam as beam

    stderr = sys.stderr
    if not os.environ.get(command.TRACEBACK):
        # Of an error it logs a page and prints another, and then raises it.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        sys.stderr = _WithoutTracebacks(stderr)
    before, environment = tempfile.tempdir, os.environ.get(orphans.PARENT)
    os.environ[orphans.PARENT] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="mmv_tf-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            with beam.Pipeline(options=options) as built:
                yield built
        except Exception as error:
            _explain(error, output)
            raise
        finally:
            sys.stderr, tempfile.tempdir = stderr, before
            os.environ.pop(orphans.PARENT, None)
            if environment is not None:
                os.environ[orphans.PARENT] = environment


def _explain(error, output):
    """Raises what is behind an error of Beam, if it is no fault of the program: the last line of what it repeats."""
    for line in reversed(str(error).splitlines()):
        found = _CAUSE.match(line.strip())
        if not found:
            continue
        kind, text = found[1], found[2].partition(" [while running")[0]
        if kind == "ValueError":
            raise ValueError(text) from error
        if kind in _OF_FILES:
            raise OSError(f"{output}: {text}; what is finished is kept: mend that, and run the same again") from error
        return
    if isinstance(error, OSError):
        raise OSError(f"{output}: {error}; what is finished is kept: mend that, and run the same again") from error


def parse(parser, flags):
    """PipelineOptions of what a command does not know itself; an unknown option ends it, since Beam only warns.

    Without a runner and without a number of workers, Beam's DirectRunner uses a thread a core.
    """
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions, WorkerOptions

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
        if direct.direct_running_mode == "multi_processing" and not os.environ.get(command.TRACEBACK):
            # Its worker processes write a page of what they do at their start.
            options.view_as(WorkerOptions).default_sdk_harness_log_level = "CRITICAL"
    return options
