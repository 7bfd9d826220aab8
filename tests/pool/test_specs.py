from __future__ import annotations

import pytest
from pydantic import ValidationError

from rlprune.errors import ModelError
from rlprune.models import build_model
from rlprune.pool.specs import DEPTHS, MLPSpec, PlainSpec, read_spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSON"),
        ("{}", "family"),
        ('{"family": "transformer"}', "transformer"),
        ('{"family": "mlp"}', "mlp.hidden"),
        ('{"family": "mlp", "hidden": []}', "mlp.hidden"),
        ('{"family": "mlp", "hidden": [0]}', "mlp.hidden.0"),
        ('{"family": "mlp", "hidden": [8], "dropout": 0.1}', "dropout"),
        (
            '{"family": "plain", "stages": [[8], [8]], "kernels": [3], "is_strided": true}',
            "1 kernels for 2 stages",
        ),
        (
            '{"family": "plain", "stages": [[8]], "kernels": [4], "is_strided": true}',
            "kernels",
        ),
        (
            '{"family": "vgg", "convolutions": [1], "widths": [8, 8], "kernels": [3], "hidden": 8}',
            "numbers of stages",
        ),
        (
            '{"family": "residual", "blocks": [1], "widths": [8], "strides": [1], "kernel": 3, '
            '"inner": [4, 4]}',
            "numbers of stages",
        ),
    ],
)
def test_a_spec_that_describes_no_network_is_refused_with_the_reason(
    text: str, reason: str
) -> None:
    with pytest.raises(ModelError, match="describes no network of a pool") as caught:
        read_spec(text)
    assert reason in str(caught.value)
    with pytest.raises(ModelError, match="describes no network of a pool"):
        build_model(f"pool:{text}", in_channels=1, num_classes=10, image_size=8)


def test_a_spec_cannot_be_changed() -> None:
    spec = MLPSpec(hidden=(8,))
    with pytest.raises(ValidationError):
        spec.hidden = (9,)


def test_depths_have_names_from_shallow_to_deep() -> None:
    names = [
        PlainSpec(stages=((8,) * count,), kernels=(3,), is_strided=False).depth_name
        for count in range(1, 30)
    ]
    assert names == sorted(names, key=list(DEPTHS).index)
    assert [names.count(name) for name in DEPTHS] == [7, 8, 14]
