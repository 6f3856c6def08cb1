"""`python -m symc` is the `symc` command."""

from symc.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
