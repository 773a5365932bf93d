"""`python -m m3it_jax` is the program `m3it`."""

from m3it_jax.cli.program import main

if __name__ == "__main__":
    main()
