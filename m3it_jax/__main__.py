"""`python -m m3it_jax` is the program `m3it`."""

import sys

from m3it_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
