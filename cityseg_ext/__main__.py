"""``python -m cityseg_ext doctor`` and ``python -m cityseg_ext configs``."""

import argparse
import sys

from cityseg_ext.doctor import examine, report
from cityseg_ext.shipped import configs_folder, copy_configs


def main() -> None:
    """Run a command on this installation."""
    parser = argparse.ArgumentParser(prog="python -m cityseg_ext", description="Look after an installation of cityseg.")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "say what is installed, what conflicts, and which command mends it; the exit code is 1 if anything does"
    commands.add_parser("doctor", help=text, description=f"{text[0].upper()}{text[1:]}.")
    text = "list the configs that come with the package, or copy them, to inherit from or to change"
    configs = commands.add_parser("configs", help=text, description=f"{text[0].upper()}{text[1:]}.")
    configs.add_argument("--copy-to", metavar="DIR", help="a folder that does not exist, or is empty")
    args = parser.parse_args()
    if args.command == "doctor":
        findings = examine()
        sys.stdout.write(report(findings) + "\n")
        sys.exit(any(finding.level == "problem" for finding in findings))
    try:
        paths = copy_configs(args.copy_to) if args.copy_to else sorted(configs_folder().glob("*.py"))
    except OSError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    if args.copy_to:
        sys.stdout.write(f"Copied {len(paths)} configs and what they are based on to {args.copy_to}\n")


if __name__ == "__main__":
    main()
