"""The frame of all commands: how they explain themselves, and the one way in which they end."""

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback

from mmv_tf.common import paths

TRACEBACK = "MMV_TF_TRACEBACK"  # environment variable: show where an error was raised
_STOPPED = 130  # exit status after Ctrl-C, as shells give it
_TERMINATED = 143  # and after SIGTERM
_LONGEST = 2000  # characters of the line
_TOLD = (ValueError, SyntaxError, OSError, KeyError, FloatingPointError, ModuleNotFoundError)
# Errors of tf.io.gfile, which are none of Python's: of files, and not of a graph.
_OF_FILES = frozenset(
    "PermissionDeniedError NotFoundError ResourceExhaustedError UnavailableError DataLossError".split()
)
_OF_DISKS = ("No space left on device", "Read-only file system", "Disk quota exceeded", "Input/output error")


def _original(error: Exception) -> Exception:
    """The error itself where AutoGraph tells one again with all lines of code that it went through.

    One of a class that AutoGraph does not know, such as those that gin makes, becomes a StagingError of that text.
    """
    while isinstance(error.__context__, Exception) and str(error).startswith("in user code:"):
        error = error.__context__
    return error


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line, as `run` does, and takes no abbreviations.

    A value that begins with `~/` is in the home of the user, also where no shell sees to it: `--workdir=~/runs/fac`.
    """

    def __init__(self, **options):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options})

    def _get_values(self, action, arg_strings):
        return super()._get_values(action, [paths.home(one) if one.startswith("~") else one for one in arg_strings])

    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(self._joined(sys.argv[1:] if args is None else list(args)), namespace)

    def _joined(self, args):
        """A value that begins with a dash, as one in 64 ids of YouTube does, joined to its option: --key=-0RWZT."""
        joined = []
        for argument in args:
            option = self._option_string_actions.get(joined[-1]) if joined else None
            is_value = argument.startswith("-") and argument.partition("=")[0] not in self._option_string_actions
            takes_one = (
                option is not None and option.nargs is None and not isinstance(option, argparse._SubParsersAction)
            )
            if is_value and takes_one and not re.fullmatch(r"--[a-z_]*(=.*)?", argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return joined

    def check_positive(self, args, names, most=None):
        """Ends the command where one of the options is given and is not a positive number, or more than it may be.

        Args:
          args: what was parsed.
          names: of the options.
          most: {name: the most that it may be}.
        """
        for name in names:
            if (value := getattr(args, name)) is not None and not 0 < value < float("inf"):
                self.error(f"--{name} must be positive, not {value}")
        for name, bound in (most or {}).items():
            if (getattr(args, name) or 0) > bound:
                self.error(f"--{name} must be at most {bound:.0f}, not {getattr(args, name)}")

    def error(self, message):
        self.exit(2, f"error: {' '.join(message.split())} (see {self.prog} --help)\n")


@contextlib.contextmanager
def waiting_for(what: str, is_said: bool = True):
    """Says what takes its time, before it does, and how long it took, after: 'building the network ... 3.2 s'."""
    if not is_said:
        yield
        return
    print(what, end=" ... ", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("stopped", flush=True)
        raise
    print(f"{time.monotonic() - began:.1f} s", flush=True)


def parser(name: str, description: str, then: str, more: str = "", **options) -> Parser:
    """The parser of `mmv_tf NAME`.

    Args:
      name: of the command.
      description: its first paragraph is shown.
      then: what a person types afterwards, ready to copy, with a gin file where one fits.
      more: shown before it: examples, or options that others read.
      options: of ArgumentParser.
    """
    parts = [more.strip("\n"), f"afterwards:\n  {then}"]
    return Parser(
        prog=f"mmv_tf {name}",
        description=description.split("\n\n")[0],
        epilog="\n\n".join(filter(None, parts)),
        **options,
    )


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which would end the process without a chance to remove what is temporary."""


@contextlib.contextmanager
def _terminated_as_stopped():
    def stop(number, frame):
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # where signals do not come
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _errors_alone_are_logged():
    """Beam's imports warn of Google Cloud packages that we do not need, by the logger that has no name."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        root.setLevel(before)


def _is_of_a_file(error) -> bool:
    """Whether an error of TensorFlow is about a file or a disk. Without an import of TensorFlow."""
    if not type(error).__module__.startswith("tensorflow."):
        return False
    return type(error).__name__ in _OF_FILES or any(what in str(error) for what in _OF_DISKS)


def run(main, argv=None) -> int:
    """Runs `main(argv)`. What a person can mend ends in one line on stderr and status 2, and Ctrl-C in one and 130.

    Returns:
      the exit status: that of `main`, where None is 0. With MMV_TF_TRACEBACK=1 the traceback comes before the line.
    """
    try:
        with _terminated_as_stopped(), _errors_alone_are_logged():
            return main(argv) or 0
    except Exception as raised:
        error = _original(raised)
        if not isinstance(error, _TOLD) and not _is_of_a_file(error):
            raise
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        message = message.partition("\n  In call to configurable")[0]  # which gin adds to what was said
        print(f"error: {' '.join(message.split())[:_LONGEST]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped; the same command again goes on, or begins anew where nothing is kept", file=sys.stderr)
        return _TERMINATED if isinstance(stop, _Terminated) else _STOPPED
