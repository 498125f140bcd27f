"""`python -m tests.fuzz`: try mutated files of every format, and list what fails."""

from __future__ import annotations

import argparse
import collections
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

from . import campaign  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", default="", help="seeds whose names contain this")
    options = parser.parse_args()
    kinds: collections.Counter[str] = collections.Counter()
    tried = 0
    for tried, number, name, problem in campaign.run(**vars(options)):
        if problem:
            kind = problem[:60]
            kinds[kind] += 1
            if kinds[kind] <= 3:
                print(f"input {number}, of {name!r}: {problem}", flush=True)
        if tried % 1000 == 0:
            print(f"{tried:,} inputs, {kinds.total()} problems", file=sys.stderr, flush=True)
    print(f"{tried:,} inputs, {kinds.total()} problems of {len(kinds)} kinds")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
