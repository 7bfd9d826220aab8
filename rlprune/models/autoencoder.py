"""A convolutional autoencoder: a network whose quality is a reconstruction error."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (32, 64)
_LATENT = 16


def _block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Autoencoder(nn.Module):
    """Two strided convolutions down to a narrow code, two nearest-neighbour upsamplings back."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        first, second = _WIDTHS
        self.down1 = _block(in_channels, first, stride=2)
        self.down2 = _block(first, second, stride=2)
        self.code = _block(second, _LATENT)
        self.expand = _block(_LATENT, second)
        self.up1 = _block(second, first)
        self.up2 = _block(first, first)
        self.output = nn.Conv2d(first, in_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the reconstruction, of exactly the image's shape."""
        half = self.down1(image)
        x = self.expand(self.code(self.down2(half)))
        # Sizes come from the encoder, so odd images are restored exactly.
        x = self.up1(functional.interpolate(x, size=half.shape[2:]))
        x = self.up2(functional.interpolate(x, size=image.shape[2:]))
        reconstruction: Tensor = self.output(x)
        return reconstruction


def autoencoder(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build the network for images of any size; it has no classes."""
    return Autoencoder(in_channels)
