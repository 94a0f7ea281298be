"""``python -m miscnn``: the command ``miscnn`` where scripts are not on the path."""

from __future__ import annotations

if __name__ == "__main__":
    from miscnn.cli import main

    main(prog_name="python -m miscnn")
