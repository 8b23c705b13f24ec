"""The command, also as ``python -m polars_alf``."""

import sys


def main() -> None:
    """Load the command line, which takes half a second, and run it."""
    try:
        from polars_alf import cli
    except KeyboardInterrupt:
        print("interrupted; nothing was begun", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
