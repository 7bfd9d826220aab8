"""Units of the study are worked on once, and all rivals are asked on the same terms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bench_agent
import pytest
from agent_table import CONTROLS, PICKED, RIVALS, SEARCHES, Unit
from bench_agent import BUDGETS, PARTS, AgentBenchSettings

from rlprune import cli
from rlprune.agents.chosen import Entrant, is_search
from rlprune.compare.cells import BASELINE
from rlprune.config import CompareSettings
from rlprune.errors import UnknownNameError
from rlprune.pool.choosing import Names

Worked = list[tuple[str, int]]


@pytest.fixture
def worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worked:
    """What is worked on, in order; the third unit is interrupted the first time."""
    begun: Worked = []

    def work(settings: AgentBenchSettings, name: str, seed: int) -> Unit:
        begun.append((name, seed))
        if len(begun) == 3:
            raise KeyboardInterrupt
        return Unit(part=name, seed=seed, commit="", rows=(), returns=())

    monkeypatch.setattr(bench_agent, "FINISHED", tmp_path / "finished")
    monkeypatch.setattr(bench_agent, "work", work)
    return begun


def settings_in(folder: Path, **more: object) -> AgentBenchSettings:
    return AgentBenchSettings.model_validate({"json_file": str(folder / "table.json"), **more})


def test_what_is_finished_is_not_worked_on_again(tmp_path: Path, worked: Worked) -> None:
    parts = ("without-digits", "resnet56")
    settings = settings_in(tmp_path, parts=parts, seeds=(0, 4))
    with pytest.raises(KeyboardInterrupt):
        bench_agent.main(settings)
    assert not (tmp_path / "table.json").exists()
    bench_agent.main(settings)
    wanted = [(part, seed) for seed in (0, 4) for part in parts]
    assert worked == [*wanted[:3], *wanted[2:]]
    files = {path.name for path in (tmp_path / "finished").iterdir()}
    assert files == {f"{part}-{seed}.json" for part, seed in wanted}
    bench_agent.main(settings)
    assert len(worked) == 5


def test_a_quick_table_is_made_of_what_is_there(tmp_path: Path, worked: Worked) -> None:
    bench_agent.main(settings_in(tmp_path, parts=("resnet56",), seeds=(1,)))
    bench_agent.main(settings_in(tmp_path, quick=True))
    assert worked == [("resnet56", 1)]
    assert (tmp_path / "table.md").exists()


def test_an_unknown_part_is_refused_before_any_work(tmp_path: Path, worked: Worked) -> None:
    settings = settings_in(tmp_path, parts=("without-digits", "without-digit"))
    with pytest.raises(UnknownNameError, match="did you mean 'without-digits'"):
        bench_agent.main(settings)
    assert worked == []


def test_an_agent_is_never_judged_on_what_it_was_trained_on() -> None:
    families = {"resnet20": "residual", "resnet56": "residual", "vgg": "vgg"}
    families |= {"mobilenetv2": "depthwise", "densenet": "dense"}
    for part in PARTS.values():
        data = "digits" if "--data digits" in part.task else "fashion-mnist-14"
        assert part.held_out != Names()
        assert all(
            families[model] in part.held_out.families or data in part.held_out.data
            for model in part.models
        )
        if part.agent:
            assert PARTS[part.agent].held_out == part.held_out


@pytest.mark.parametrize("name", PARTS)
def test_all_are_compared_in_one_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    understood: list[CompareSettings] = []

    def run(settings: CompareSettings, words: Sequence[str]) -> None:
        understood.append(settings)

    monkeypatch.setattr(cli, "run", run)
    part, out = PARTS[name], tmp_path / "compared"
    cli.main(bench_agent.words(settings_in(tmp_path), part, "agent", 5, out))
    (said,) = understood
    assert (said.model, said.budget, said.out) == (part.models, BUDGETS, out)
    assert (said.seed, said.seeds, said.quick_finetune) == (5, 1, part.searches)
    ours = ("agent@0", PICKED, "agent@20", "agent@200") if part.searches else ("agent@0",)
    searches = SEARCHES if part.searches else ()
    assert {BASELINE, *said.methods} == {*RIVALS, *CONTROLS, *ours, *searches}
    own = {one: Entrant.parse(one) for one in said.methods if not one.startswith("agent")}
    assert all(is_search(one.method) for one in own.values() if one.evaluations is not None)
