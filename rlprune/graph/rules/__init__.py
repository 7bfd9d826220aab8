"""How labels pass through each of PyTorch's own operations (ATen).

Operations without a rule keep all labels that reach them, by name: an unknown operation is never
taken for an element-wise one.
"""

from rlprune.graph.rules import (
    convolution,
    elementwise,
    movement,
    normalisation,
    product,
    reduction,
)

__all__ = ["convolution", "elementwise", "movement", "normalisation", "product", "reduction"]
