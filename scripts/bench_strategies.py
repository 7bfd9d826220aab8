"""What search strategies are worth: see `strategies_search.py` and `strategies_ddpg.py`.

python scripts/bench_strategies.py
"""

from __future__ import annotations

import strategies_ddpg
import strategies_search
import torch
import tyro
from bench import BenchSettings, publish


def main(settings: BenchSettings) -> None:
    """Measure all strategies that search, but for the learned agent."""
    torch.set_num_threads(settings.threads)
    notes = (
        "Low and high are the extremes over seeds, and of differences on MobileNetV2 a 95 % t "
        "interval. Digits: random search around the heuristic draws with a standard deviation of "
        "0.15, the first spread of evolution and CMA-ES too; evolution's settings were tuned on "
        "these networks at kept MACs 0.5 and 0.3. Autoencoder: PSNR of the test split without "
        "fine-tuning, searched and judged without the repair by least squares, which at half the "
        "parameters leaves little to choose between plans; the best of 20 random is the mean over "
        "five draws; a grid is as fine as 200 evaluations allow, and the centre is one of them."
    )
    rows = strategies_search.rows(settings) + strategies_ddpg.rows(settings)
    publish("strategies", settings, rows, notes)


if __name__ == "__main__":
    main(tyro.cli(BenchSettings))
