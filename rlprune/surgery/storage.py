"""Save a pruned model as JSON and safetensors; load it without pickle and without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlprune.errors import PlanError
from rlprune.files import staged_folder
from rlprune.graph.group_graph import GroupGraph
from rlprune.surgery.plan import Plan
from rlprune.surgery.replay import check_shapes, install

PLAN_FILE = "plan.json"
WEIGHTS_FILE = "model.safetensors"


class PlanFile(BaseModel):
    """What `plan.json` holds.

    Attributes:
        version: of this format.
        recipe: how to build the dense architecture again, or None when only its owner knows.
        kept: original indices of the channels that stay, per group.
        graph: the dense network's dependency groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    recipe: dict[str, Any] | None
    kept: dict[str, list[int]]
    graph: GroupGraph


def save_pruned(
    folder: Path,
    plan: Plan,
    small: nn.Module,
    recipe: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> None:
    """Write `plan.json`, `model.safetensors` and, if given, the model card `README.md`.

    The folder appears only when everything has been written.
    """
    document = PlanFile(
        recipe=None if recipe is None else dict(recipe),
        kept={name: list(kept) for name, kept in plan.kept.items()},
        graph=plan.graph,
    )
    with staged_folder(folder) as staging:
        (staging / PLAN_FILE).write_text(document.model_dump_json())
        tensors = {name: t.detach().cpu().clone().contiguous() for name, t in _state(small).items()}
        save_file(tensors, staging / WEIGHTS_FILE)
        if card is not None:
            (staging / "README.md").write_text(card)


def load_plan(folder: str | Path) -> Plan:
    """Read the plan of a saved model; it replays on a fresh dense network without a trace."""
    document = _read(Path(folder))
    return Plan(document.kept, document.graph)


def load_pruned(folder: str | Path, factory: Callable[[], nn.Module] | None = None) -> nn.Module:
    """Load a pruned model in eval mode, bit for bit as it was saved.

    Args:
        folder: where `plan.json` and `model.safetensors` lie.
        factory: builds the dense architecture; may be left out for models that rlprune can build
            itself (built-in ones and `torchvision:NAME`).

    Raises:
        PlanError: if a file is missing or damaged, or the tensors do not fit the architecture.
    """
    folder = Path(folder)
    document = _read(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise PlanError(f"{weights} is missing; copy the whole folder that `rlprune apply` wrote")
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise PlanError(f"{weights} is damaged ({error}); copy it again") from error
    model = _build(document, folder) if factory is None else factory()
    dense = _state(model)
    unknown = sorted(set(tensors) ^ set(dense))
    if unknown:
        raise PlanError(
            f"{weights} does not fit the architecture of the factory: tensor {unknown[0]!r} "
            "exists on one side only"
        )
    check_shapes(dense, document.graph)
    _check_pruned_shapes(tensors, Plan(document.kept, document.graph), folder)
    install(model, tensors)
    return model.eval()


def _check_pruned_shapes(tensors: Mapping[str, Tensor], plan: Plan, folder: Path) -> None:
    shapes = {name: list(info.shape) for name, info in plan.graph.tensors.items()}
    for name, dims in plan.graph.kept_positions(plan.kept).items():
        for dim, positions in dims.items():
            shapes[name][dim] = len(positions)
    for name, shape in shapes.items():
        if list(tensors[name].shape) != shape:
            raise PlanError(
                f"{folder / WEIGHTS_FILE} does not fit {PLAN_FILE}: {name!r} should have shape "
                f"{tuple(shape)}, found {tuple(tensors[name].shape)}; copy the whole folder again"
            )


def _state(model: nn.Module) -> dict[str, Any]:
    return dict(model.state_dict())


def _build(document: PlanFile, folder: Path) -> nn.Module:
    from rlprune.models.registry import rebuild

    if document.recipe is None:
        raise PlanError(
            f"{folder / PLAN_FILE} does not say how to build the dense model; "
            "pass it: rlprune.load(folder, factory)"
        )
    return rebuild(document.recipe)


def _read(folder: Path) -> PlanFile:
    path = folder / PLAN_FILE
    if not path.is_file():
        raise PlanError(f"{path} is missing; give a model folder that rlprune wrote (RUN/model)")
    try:
        return PlanFile.model_validate_json(path.read_text())
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise PlanError(f"{path} is damaged ({reason}); copy it again") from error
