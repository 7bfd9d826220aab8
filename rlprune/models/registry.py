"""From what a user types after ``--model`` to a trained network that fits the data."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import torch
from torch import Tensor, nn

from rlprune.calling import call, main_output
from rlprune.dynamics.record import Dynamics
from rlprune.dynamics.storage import check_fits
from rlprune.errors import FOREIGN_ERRORS, ModelError, UnknownNameError, first_line
from rlprune.finite import check_finite
from rlprune.models import _weightfile as stored
from rlprune.models._torchvision import require_timm, require_torchvision
from rlprune.models._userfile import call_factory, is_user_file, user_code
from rlprune.models.builtin import BUILDERS, BUILTIN_NAMES

if TYPE_CHECKING:
    # At run time the data package imports this one, for torchvision and the user's files.
    from rlprune.data.splits import DataSplits

__all__ = ["BUILTIN_NAMES", "LoadedModel", "build_model", "load_model", "rebuild"]

_TORCHVISION_PREFIX = "torchvision:"
_TORCHVISION_CHANNELS = 3
_TIMM_PREFIX = "timm:"
_POOL_PREFIX = "pool:"
_TIMM_SUGGESTIONS = 8
_RECIPE_SIZES = ("in_channels", "num_classes", "image_size")


@dataclass(frozen=True)
class LoadedModel:
    """A network on the CPU in evaluation mode, and what builds the same architecture again.

    Attributes:
        name: what the user typed.
        module: the network.
        recipe: what builds the same architecture again.
        dynamics: how it learned; None where there is no record beside its weights, as with a
            third party's.
    """

    name: str
    module: nn.Module
    recipe: Mapping[str, str | int]
    dynamics: Dynamics | None = None


def build_model(spec: str, *, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """Build a network; all but the user's own come untrained.

    Args:
        spec: One of `BUILTIN_NAMES`, ``torchvision:NAME``, ``timm:NAME``, or
            ``path/to/file.py:factory`` for a function without arguments that returns a module; or
            ``pool:SPEC``, which recipes of sampled networks hold, see `rlprune.pool.specs`.
        in_channels: Channels of the images.
        num_classes: Outputs of a classifier.
        image_size: Height and width of the images.
    """
    if is_user_file(spec):
        made = call_factory(spec, ModelError)
        if not isinstance(made, nn.Module):
            raise ModelError(f"{spec} returned {type(made).__name__}; return a torch.nn.Module")
        return made
    if spec.startswith(_TORCHVISION_PREFIX):
        name = spec.removeprefix(_TORCHVISION_PREFIX)
        return _from_torchvision(name, in_channels, num_classes, image_size)
    if spec.startswith(_TIMM_PREFIX):
        return _from_timm(spec.removeprefix(_TIMM_PREFIX), in_channels, num_classes, image_size)
    if spec.startswith(_POOL_PREFIX):
        return _from_pool(spec.removeprefix(_POOL_PREFIX), in_channels, num_classes, image_size)
    if spec not in BUILDERS:
        others = ("torchvision:NAME", "timm:NAME", "path/to/file.py:factory")
        raise UnknownNameError("model", spec, (*BUILTIN_NAMES, *others))
    return BUILDERS[spec](in_channels, num_classes, image_size)


def load_model(
    spec: str, data: DataSplits, *, weights: Path | None = None, require_trained: bool = True
) -> LoadedModel:
    """Build a network for a task, fill in its weights and try it on two images.

    Args:
        spec: See `build_model`.
        data: The task, which sets the channels, the classes and the image size.
        weights: A ``.safetensors``, ``.pth`` or ``.pt`` file. Without it, built-in networks take
            the weights that ship for the task, and a user's factory returns a trained network.
            What is known of their training is read from ``NAME.dynamics.json`` beside them.
        require_trained: Whether missing weights are an error.

    Raises:
        DynamicsError: If that record is damaged, or of another network.
    """
    channels, image_size, _ = data.input_shape
    recipe: dict[str, str | int] = {
        "model": spec,
        "in_channels": channels,
        "num_classes": data.num_classes,
        "image_size": image_size,
    }
    module = rebuild(recipe).cpu()
    state = _state(spec, data, weights, required=require_trained)
    if state is not None:
        stored.fill(module, state, source=str(weights or f"the shipped weights of {spec}"))
    check_finite(module, spec)
    module.eval()
    _check_fit(spec, module, data)
    known = stored.read_dynamics_beside(weights, spec, data.tag) if state is not None else None
    if known is not None:
        shapes = {name: one.shape for name, one in module.named_parameters()}
        check_fits(known, shapes, source=f"the dynamics record of {weights or spec}")
    return LoadedModel(spec, module, recipe, known)


def rebuild(recipe: Mapping[str, Any]) -> nn.Module:
    """Build the architecture that a `LoadedModel.recipe` describes, without its weights."""
    sizes = [recipe.get(key) for key in _RECIPE_SIZES]
    if not isinstance(recipe.get("model"), str) or not all(type(s) is int and s > 0 for s in sizes):
        raise ModelError(
            f"the model recipe {dict(recipe)!r} is damaged; it needs a model name and positive "
            f"{', '.join(_RECIPE_SIZES)}"
        )
    in_channels, num_classes, image_size = cast(list[int], sizes)
    return build_model(
        recipe["model"], in_channels=in_channels, num_classes=num_classes, image_size=image_size
    )


def _from_pool(text: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    # Imported here: the pool builds its networks with those of this package.
    from rlprune.pool.networks import network
    from rlprune.pool.specs import read_spec

    return network(read_spec(text), in_channels, num_classes, image_size)


def _from_torchvision(name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    models = require_torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError("torchvision model", name, known)
    if in_channels != _TORCHVISION_CHANNELS:
        raise ModelError(
            f"torchvision:{name} takes images of {_TORCHVISION_CHANNELS} channels and the data has "
            f"{in_channels}; use a built-in model ({', '.join(BUILTIN_NAMES)}) or `timm:NAME`"
        )
    builder = models.get_model_builder(name)
    options = _torchvision_options(builder, image_size)
    with _building(f"torchvision:{name}", in_channels, image_size):
        return cast(nn.Module, builder(weights=None, num_classes=num_classes, **options))


def _torchvision_options(builder: Callable[..., object], image_size: int) -> dict[str, object]:
    """What a network must be told, of the options that its class takes.

    Transformers fix their grid when they are built, and auxiliary heads make the training output
    something else than one tensor.
    """
    wanted: dict[str, object] = {
        "image_size": image_size,
        "input_size": (image_size, image_size),
        "aux_logits": False,
    }
    taken = inspect.signature(get_type_hints(builder).get("return", builder)).parameters
    options = {key: value for key, value in wanted.items() if key in taken}
    # Where torchvision has no default yet, it warns and uses an initialisation that it gives up.
    if "init_weights" in taken and taken["init_weights"].default is None:
        options["init_weights"] = False
    return options


def _from_timm(name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    timm = require_timm()
    known = timm.list_models()
    if name not in known:
        raise _unknown_timm(name, known)
    sizes: dict[str, int] = {"num_classes": num_classes, "in_chans": in_channels}
    # timm's promise that the class takes `img_size` and stays with it; others take images as given.
    if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
        sizes["img_size"] = image_size
    with _building(f"timm:{name}", in_channels, image_size):
        return cast(nn.Module, timm.create_model(name, pretrained=False, **sizes))


def _unknown_timm(name: str, known: Sequence[str]) -> ModelError | UnknownNameError:
    """Name the closest ones only: timm has more than a thousand."""
    architecture, _, weights = name.partition(".")
    if architecture in known:
        return ModelError(
            f"timm:{name} asks for the weights {weights!r}, and none are downloaded; type "
            f"`timm:{architecture}` and `--weights FILE`"
        )
    close = difflib.get_close_matches(name, known, n=_TIMM_SUGGESTIONS)
    every = f"any of the {len(known)} names in timm.list_models()"
    return UnknownNameError("timm model", name, [*close, every])


@contextmanager
def _building(spec: str, in_channels: int, image_size: int) -> Iterator[None]:
    """Pass on why a network refuses the images, such as a size that its patches do not divide."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise ModelError(
            f"{spec} cannot be built for images of {in_channels} x {image_size} x {image_size} "
            f"({first_line(error)}); give another `--image-size` or another model"
        ) from error


def _state(
    spec: str, data: DataSplits, path: Path | None, *, required: bool
) -> dict[str, Tensor] | None:
    """The weights to fill in; None when the module is to stay as it was built."""
    if path is not None:
        return stored.read(path)
    if is_user_file(spec):
        return None
    shipped = stored.read_shipped(spec, data.tag) if spec in BUILDERS else None
    if shipped is None and required:
        raise ModelError(_no_weights(spec, data))
    return shipped


def _no_weights(spec: str, data: DataSplits) -> str:
    train = ""
    if spec in BUILDERS:
        train = (
            f", or train them: `python scripts/train_dense.py --model {spec} --data {data.name} "
            f"--image-size {data.input_shape[1]} --out FILE.safetensors`"
        )
    return (
        f"no trained weights for {spec} on {data.tag} (shipped: {', '.join(stored.shipped())}); "
        f"give `--weights FILE`{train}"
    )


def _check_fit(spec: str, module: nn.Module, data: DataSplits) -> None:
    """Run two samples through the network."""
    inputs, _ = data.validation.tensors(2)
    with user_code(f"{spec} does not fit {data.tag}: a forward pass", ModelError), torch.no_grad():
        output = main_output(call(module, inputs))
    if output.ndim == 2 and output.shape[1] < data.num_classes:
        raise ModelError(
            f"{spec} has {output.shape[1]} outputs and {data.tag} {data.num_classes} classes; give "
            "a model with one output a class"
        )
