"""What criteria are worth: Taylor against ablation, screening against what it is meant to find.

    python scripts/bench_criteria.py

See `criteria_taylor.py` and `criteria_screening.py` for what is measured and how rivals are set up.
"""

from __future__ import annotations

import criteria_screening
import criteria_taylor
import torch
import tyro
from bench import BenchSettings, publish


def main(settings: BenchSettings) -> None:
    """Measure both families of criteria."""
    torch.set_num_threads(settings.threads)
    notes = (
        "Spearman with ablation: between a criterion's scores on 2,000 images and the squared "
        "change of the loss on 600 others when each channel alone is zeroed after its ReLU; low "
        "and high are the extremes over draws of these images. torch-pruning's criteria read the "
        "gradient of the loss over the same 2,000 images. Accuracy at 30 % removal is measured on "
        "the validation split after BatchNorm recalibration, without fine-tuning."
    )
    rows = criteria_taylor.rows(settings) + criteria_screening.rows(settings)
    publish("criteria", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
