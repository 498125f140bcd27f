"""`python -m inarch` is the `inarch` command."""

from inarch.cli import main

if __name__ == "__main__":
    main()
