"""Entry point of `python -m inarch`, the `inarch` command."""

from inarch.cli import main

if __name__ == "__main__":
    main()
