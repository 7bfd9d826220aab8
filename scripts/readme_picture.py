"""Draw the picture of the README from an apply run.

python scripts/readme_picture.py runs/demo/mobilenetv2 docs/demo.png
"""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import Positional

from rlprune.report.picture import result_figure
from rlprune.report.result import read_result


def main(run: Positional[Path], picture: Positional[Path]) -> None:
    """Read RUN/result.json and write a PNG."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    result_figure(read_result(run)).savefig(picture, dpi=120)


if __name__ == "__main__":
    tyro.cli(main)
