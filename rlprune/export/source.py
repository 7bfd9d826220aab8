"""What an apply run left to export: its model folder, and an example of the model's inputs."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from rlprune.calling import Inputs
from rlprune.config import ApplySettings
from rlprune.data.registry import load_data
from rlprune.errors import RunError, first_fault
from rlprune.models._userfile import is_user_file
from rlprune.report.result import RESULT_FILE
from rlprune.surgery.storage import PLAN_FILE, PlanFile

_SAMPLES = 2
_SEED = 0


def model_folder(run: Path) -> Path:
    """Return the model folder of an apply run; `run` may be that folder itself.

    Raises:
        RunError: if there is none, with what is there instead.
    """
    for folder in (run, run / "model"):
        if (folder / PLAN_FILE).is_file():
            return folder
    wanted = "give the run folder of `rlprune apply`, or its model folder"
    if not run.is_dir():
        raise RunError(f"{run} is {'a file' if run.exists() else 'missing'}; {wanted}")
    if (run / "agent").is_dir():
        raise RunError(
            f"{run} is the run of a training, which leaves an agent and no model; type "
            f"`rlprune apply {run} --model MODEL --out OUT`, then `rlprune export OUT`"
        )
    inside = sorted(str(path.parents[1]) for path in run.glob(f"*/model/{PLAN_FILE}"))
    if inside:
        raise RunError(f"{run} holds no model itself; give a run inside it: {', '.join(inside)}")
    raise RunError(f"{run} holds no model/{PLAN_FILE}; {wanted}")


def example_inputs(folder: Path) -> Inputs:
    """Return two samples of what a saved model takes.

    They are noise of the size in the model's recipe, so that no data is needed; only a user's own
    data may be something else than square images, and are asked for their first samples.

    Args:
        folder: the model folder, from which the model has been loaded.
    """
    settings = _settings_of(folder.parent)
    if settings is not None and is_user_file(settings.data):
        data = load_data(settings.data, data_dir=settings.data_dir, image_size=settings.image_size)
        return data.search.tensors(_SAMPLES)[0]
    recipe = PlanFile.model_validate_json((folder / PLAN_FILE).read_text()).recipe or {}
    channels, size = recipe["in_channels"], recipe["image_size"]
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randn(_SAMPLES, channels, size, size, generator=generator)


def _settings_of(run: Path) -> ApplySettings | None:
    """The settings of the run that a model folder lies in; None for one copied elsewhere."""
    path = run / "config.json"
    if not (run / RESULT_FILE).is_file() or not path.is_file():
        return None
    try:
        return ApplySettings.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is damaged ({first_fault(error)}); run `rlprune apply` again"
        ) from error
