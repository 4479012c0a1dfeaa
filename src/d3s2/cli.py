"""Command-line entry point. Exit status: 0 done, 1 the work failed, 2 the call was wrong, 130 and 143 stopped.

Imports next to nothing, so that even a Ctrl-C while commands are imported ends in a sentence.
"""

import os
import sys

from d3s2.base.machine.signals import INTERRUPTED, TERMINATED, leaving_at_once, sentence_of


def main() -> None:
    """Runs the command line; every known failure is one sentence on standard error."""
    with leaving_at_once():
        from d3s2.base.errors import D3S2Error, out_of_memory, refused_file

        try:
            from d3s2.commands import app

            app()
        except D3S2Error as error:
            sys.exit(_complain(str(error), error.exit_status))
        except SystemExit as leaving:
            if leaving.code not in (INTERRUPTED, TERMINATED):  # the first is what typer makes of Ctrl-C
                raise
            sys.exit(_complain(sentence_of(leaving.code), leaving.code))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            named = out_of_memory(error) or refused_file(error)
            if named is not None:
                sys.exit(_complain(str(named), named.exit_status))
            if os.environ.get("D3S2_DEBUG"):
                raise
            kind = " ".join(f"{type(error).__name__}: {error}".split())
            sys.exit(_complain(f"Unexpected error ({kind}): a defect; run again with D3S2_DEBUG=1 and report it.", 1))


def _complain(text: str, exit_status: int) -> int:
    print(f"d3s2: {text}", file=sys.stderr)  # noqa: T201
    return exit_status


if __name__ == "__main__":
    main()
