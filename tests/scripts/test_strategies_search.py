"""Soft coefficients on the autoencoder, at the operating point of their acceptance test."""

from __future__ import annotations

from pathlib import Path

import pytest
import strategies_search

from rlprune.data import fashion_mnist


@pytest.mark.slow
@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(),
    reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist",
)
def test_grid_and_gradient_beat_uniform_and_random_at_half_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies_search, "FOLDER", tmp_path)
    rows = strategies_search._soft_coefficients(quick=True)
    judged = {(row.case.split(", ")[-1], row.metric): row for row in rows if row.target}
    psnr = strategies_search.PSNR
    wanted = {
        (f"{ours} - {rival}", psnr)
        for ours in ("grid", "gradient")
        for rival in ("uniform", "best of 20 random")
    } | {("gradient - grid", psnr), ("gradient", strategies_search.SLOPES)}
    assert wanted <= judged.keys()
    assert {name: row.value for name, row in judged.items() if not row.ok} == {}
