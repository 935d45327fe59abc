"""``python -m controlplane up | down | programs``: a cluster for a person, and its programs."""

import argparse
import sys
from pathlib import Path

from controlplane import standing
from controlplane.programs import ProgramsUnavailable, find_programs


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start a cluster that stays up")
    commands.add_parser("down", help="end it")
    commands.add_parser("programs", help="find or build the programs; print their folder")
    supervise = commands.add_parser("supervise", help="run a cluster in the foreground")
    supervise.add_argument("folder", type=Path)
    asked = parser.parse_args()
    try:
        match asked.command:
            case "up":
                standing.up(_say)
            case "down":
                standing.down(_say)
            case "programs":
                _say(str(find_programs(_say).folder))
            case _:
                standing.supervise(asked.folder)
    except (ProgramsUnavailable, standing.NotStarted) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


sys.exit(main())
