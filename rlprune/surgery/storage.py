"""Save a pruned model as JSON and safetensors; load it without pickle and without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from rlprune.errors import PlanError, first_fault
from rlprune.files import staged_folder
from rlprune.graph.group_graph import ALWAYS_KEPT, GroupGraph
from rlprune.surgery.plan import Plan
from rlprune.surgery.replay import adapt, check_shapes, install, sliced, tensors_of

Factory: TypeAlias = Callable[[], nn.Module]

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

    version: Literal[2] = 2
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
        save_file(_tensors(small), staging / WEIGHTS_FILE)
        if card is not None:
            (staging / "README.md").write_text(card)


def file_bytes(model: nn.Module) -> int:
    """Return the size of a model's file as `save_pruned` would write it."""
    return len(save(_tensors(model)))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in model.state_dict().items()
    }


def load_plan(folder: str | Path) -> Plan:
    """Read the plan of a saved model; it replays on a fresh dense network without a trace."""
    document = _read(Path(folder))
    return Plan(document.kept, document.graph)


def load_pruned(
    folder: str | Path, factory: Factory | None = None, *, run_files: bool = False
) -> nn.Module:
    """Load a pruned model in eval mode, bit for bit as it was saved.

    Args:
        folder: where `plan.json` and `model.safetensors` lie.
        factory: builds the dense architecture; may be left out for models that rlprune can build
            itself (built-in ones, `torchvision:NAME` and `timm:NAME`).
        run_files: without a factory, run the Python file that the plan names (a model given as
            `path/to/file.py:factory`); never done unasked.

    Raises:
        PlanError: if a file is missing or damaged, or the tensors do not fit the architecture.
    """
    folder = Path(folder)
    document = _read(folder)
    plan = Plan(document.kept, document.graph)
    tensors = _read_weights(folder / WEIGHTS_FILE)
    check_pruned(tensors, plan, str(folder / WEIGHTS_FILE))
    model = _build(document, folder, run_files=run_files) if factory is None else factory()
    dense = tensors_of(model)
    check_shapes(dense, plan.graph)
    built = {name: tensor for name, tensor in dense.items() if name not in model.state_dict()}
    install(model, {**sliced(built, plan.graph, plan.kept), **tensors})
    adapt(model, plan.graph, plan.kept)
    return model.eval()


def check_pruned(tensors: Mapping[str, Tensor], plan: Plan, source: str) -> None:
    """Raise `PlanError`, naming the group, unless the tensors are what a plan leaves of a model."""
    graph = plan.graph
    expected = {name: list(info.shape) for name, info in graph.tensors.items() if info.is_saved}
    groups: dict[str, list[str]] = {}
    for name, dims in graph.kept_positions(plan.kept).items():
        for dim, positions in dims.items():
            if name in expected:
                expected[name][dim] = len(positions)
    for piece in graph.slices:
        found = {graph.groups[g].name for g, _, _ in piece.runs if g != ALWAYS_KEPT}
        groups.setdefault(piece.tensor, []).extend(sorted(found))
    gone = tuple(f"{module}." for module in graph.bypassed(plan.kept))
    expected = {name: shape for name, shape in expected.items() if not name.startswith(gone)}
    for name in [*expected, *tensors]:
        if name not in tensors or name not in expected:
            side = "has no" if name not in tensors else "should not have a"
            raise PlanError(f"{source} {side} tensor {name!r}; copy the whole folder again")
    for name, shape in expected.items():
        dtype = str(tensors[name].dtype).removeprefix("torch.")
        wanted = graph.tensors[name].dtype
        if list(tensors[name].shape) != shape or dtype != wanted:
            of = f" (group {', '.join(groups[name])})" if name in groups else ""
            raise PlanError(
                f"{source} does not fit the plan: {name!r}{of} should be {wanted} "
                f"{tuple(shape)}, found {dtype} {tuple(tensors[name].shape)}; copy the whole "
                "folder again"
            )


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise PlanError(f"{path} is missing; copy the whole folder that `rlprune apply` wrote")
    try:
        # Copied into PyTorch's own, aligned memory: kernels round differently on unaligned data.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise PlanError(f"{path} is damaged ({error}); copy it again") from error


def _build(document: PlanFile, folder: Path, *, run_files: bool) -> nn.Module:
    from rlprune.models._userfile import is_user_file
    from rlprune.models.registry import rebuild

    if document.recipe is None:
        raise PlanError(
            f"{folder / PLAN_FILE} does not say how to build the dense model; "
            "pass it: rlprune.load(folder, factory)"
        )
    model = document.recipe.get("model")
    if isinstance(model, str) and is_user_file(model) and not run_files:
        raise PlanError(
            f"{folder / PLAN_FILE} names the Python file {model}, which loading does not run; "
            "pass its factory: rlprune.load(folder, factory)"
        )
    return rebuild(document.recipe)


def _read(folder: Path) -> PlanFile:
    path = folder / PLAN_FILE
    if not path.is_file():
        raise PlanError(f"{path} is missing; give a model folder that rlprune wrote (RUN/model)")
    try:
        return PlanFile.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} is damaged ({first_fault(error)}); copy it again") from error
