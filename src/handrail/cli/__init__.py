"""The command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line on the arguments of this process, and ends the process."""
    # Imported here: whoever wants the progress of a run alone imports this package too.
    from handrail.cli.application import application

    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            # What a terminal cannot show is spelt out instead of ending the command.
            reconfigure(errors="backslashreplace")
    application(prog_name="handrail")
