"""Run the command line with ``python -m polars_alf``."""

from polars_alf.cli import main

if __name__ == "__main__":
    main()
