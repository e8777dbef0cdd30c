"""``python -m digital_experiments``: the commands, where their script is not on the path."""

from __future__ import annotations

from digital_experiments.cli import main

if __name__ == "__main__":
    main()
