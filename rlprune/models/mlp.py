"""A fully connected network with three hidden layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_HIDDEN = (128, 128, 128)


class MLP(nn.Module):
    """Linear layers with BatchNorm and ReLU between them."""

    def __init__(self, in_features: int, num_classes: int, hidden: Sequence[int] = _HIDDEN) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_features
        for out_width in hidden:
            layers += [
                nn.Linear(width, out_width, bias=False),
                nn.BatchNorm1d(out_width),
                nn.ReLU(),
            ]
            width = out_width
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.layers(x.flatten(1)))
        return logits


def mlp(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for square images of one size."""
    return MLP(in_channels * image_size * image_size, num_classes)
