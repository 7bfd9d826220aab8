from __future__ import annotations

from pathlib import Path

from train_dense import save, train

from rlprune.data import DataSplits
from rlprune.models import load_model


def test_a_trained_network_is_loaded_with_how_it_learned(
    tmp_path: Path, digits: DataSplits
) -> None:
    path = tmp_path / "small.safetensors"
    result = train("mlp", digits, epochs=4, seed=0, learning_rate=0.1, shift=1)
    save(result, "mlp", digits, path)
    assert {one.name for one in tmp_path.iterdir()} == {path.name, "small.dynamics.json"}
    dynamics = load_model("mlp", digits, weights=path).dynamics
    assert dynamics == result.dynamics
    assert dynamics is not None
    assert dynamics.watched
    assert dynamics.data is not None
    assert dynamics.data.dense_error < 0.2
    assert dynamics.trajectory is not None
    assert dynamics.trajectory.validation_gap is not None
    for layer in dynamics.layers:
        blocks = (layer.gradients, layer.activations, layer.curvature, layer.drift)
        assert None not in blocks
