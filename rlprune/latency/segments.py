"""Segments of a forward pass: from the start of one layer with a product to that of the next."""

from __future__ import annotations

from itertools import product

from rlprune.graph.group_graph import Frozen, GroupGraph, Operation, Size
from rlprune.latency.products import Factor, Product

PROLOGUE = ""
"""Name of the segment before the first layer."""


class Segment(Frozen):
    """What runs from the start of a module until the next segment starts.

    Attributes:
        module: whose calls begin the segment; `PROLOGUE` for the start of the forward pass.
        operations: the changing sizes of every product inside, each kind once.
        blocks: groups of the blocks that the module lies in; without them nothing runs.
        following: the changing sizes of the next segment's products: what prepares its input,
            such as a concatenation, runs before it starts.
        following_blocks: groups of the blocks that the next segment lies in.
    """

    module: str
    operations: tuple[tuple[Size, ...], ...] = ()
    blocks: tuple[int, ...] = ()
    following: tuple[Size, ...] = ()
    following_blocks: tuple[int, ...] = ()

    def products(self, multiple: int) -> list[Product]:
        """Return what the time of the segment is fitted with: a constant, sizes, their products.

        Every size counts as it is and rounded up to a multiple, as devices work on whole sets of
        channels, in every combination.
        """
        alive = _kept(self.blocks)
        multiples = (1, multiple) if multiple > 1 else (1,)
        found: dict[str, Product] = {"": alive}
        for sizes in self.operations:
            factors = [[(size, m) for m in multiples] for size in sizes]
            for single in (one for ways in factors for one in ways):
                found[_key((single,))] = (single, *alive)
            for together in product(*factors):
                found[_key(together)] = (*together, *alive)
        both = _kept((*self.blocks, *self.following_blocks))
        for size in self.following:
            found[f"next {_key(((size, 1),))}"] = ((size, 1), *both)
        return list(found.values())


def segments_of(graph: GroupGraph) -> tuple[Segment, ...]:
    """Return the segments of a network in forward order; a module used again is one segment.

    Products that a module computes itself, between the layers inside it, belong to the layer that
    ran last: only the starts of innermost modules follow each other as the products do.
    """
    modules = {operation.module for operation in graph.operations}
    inside: dict[str, list[Operation]] = {PROLOGUE: []}
    current = PROLOGUE
    for operation in graph.operations:
        module = operation.module
        if module and not any(other.startswith(f"{module}.") for other in modules):
            current = module
        inside.setdefault(current, []).append(operation)
    names = list(inside)
    found = []
    for name, following in zip(names, [*names[1:], None], strict=True):
        after = inside[following][0] if following is not None else None
        found.append(
            Segment(
                module=name,
                operations=_distinct(inside[name]),
                blocks=_blocks(graph, name),
                following=after.sizes if after else (),
                following_blocks=_blocks(graph, following or PROLOGUE),
            )
        )
    return tuple(found)


def _kept(blocks: tuple[int, ...]) -> Product:
    """The factor 0 or 1 of every block."""
    return tuple((Size(constant=0.0, slopes={group: 1.0}), 1) for group in dict.fromkeys(blocks))


def _distinct(operations: list[Operation]) -> tuple[tuple[Size, ...], ...]:
    found = {repr(operation.sizes): operation.sizes for operation in operations}
    return tuple(found.values())


def _blocks(graph: GroupGraph, module: str) -> tuple[int, ...]:
    return tuple(g for m, g in graph.blocks.items() if module == m or module.startswith(f"{m}."))


def _key(factors: tuple[Factor, ...]) -> str:
    return repr(factors)
