"""The one way in which commands end."""

import os


def run(command, argv=None):
    """Runs `command(argv)`; what a person can mend ends in one line on stderr and exit status 2, not a traceback."""
    import sys
    import traceback

    try:
        return command(argv)
    except (ValueError, SyntaxError, OSError, KeyError, FloatingPointError) as error:
        if os.environ.get("MMV_TF_TRACEBACK"):
            traceback.print_exc()
        message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        message = message.partition("\n  In call to configurable")[0]  # which gin adds to what was said
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        print("(MMV_TF_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
        raise SystemExit(2) from None
