"""``python -m cityseg_ext doctor``."""

import argparse
import sys

from cityseg_ext.doctor import examine, report


def main() -> None:
    """Run a command on this installation."""
    parser = argparse.ArgumentParser(prog="python -m cityseg_ext", description="Look after an installation of cityseg.")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "say what is installed, what conflicts, and which command mends it; the exit code is 1 if anything does"
    commands.add_parser("doctor", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.parse_args()
    findings = examine()
    sys.stdout.write(report(findings) + "\n")
    sys.exit(any(finding.level == "problem" for finding in findings))


if __name__ == "__main__":
    main()
