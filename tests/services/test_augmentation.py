"""Plans: cells are counted right, trust and vocabulary decide who is left out, and a plan fits one checkpoint only."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medi_core.bootstrap import Services
from medi_core.errors import PlanError, ReferenceSetError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.targets import LIFT, MATCH, UNIFORM, WORST, Target
from medi_core.services.asked_versus_got import Trust
from medi_core.services.augmentation import AugmentationService, PlanConfig, count_cells, plan_table

BREAST, LUNG = "Breast_invasive_carcinoma", "Lung_adenocarcinoma"
TRUST = {(BREAST, "Lyon"): 0.9, (BREAST, "Paris"): 0.2}


class KnownTrust:
    """Trust as it is written down, for what is not it was never measured."""

    def trust_of(self, record: MetadataRecord) -> Trust | None:
        value = TRUST.get((record.cancer_type, record.center))
        return None if value is None else Trust(value, "center", "seen", (0, 0, 0), 9, (0, 0, 0), 9, 3)


def tiles() -> pd.DataFrame:
    """8 + 4 + 2 + 1 tiles in four cells, and two tiles that are in none."""
    cells = (
        [(BREAST, "Lyon")] * 8 + [(BREAST, "Paris")] * 4 + [(LUNG, "Lyon")] * 2 + [(LUNG, "Mars")] + [(LUNG, None)] * 2
    )
    frame = pd.DataFrame(cells, columns=["cancer_type", "center"])
    numbers = np.arange(len(frame))
    return frame.assign(patient_id=[f"P{n // 2}" for n in numbers], eosin=np.where(numbers % 2, 0.1, 1.1))


@pytest.fixture
def service(tiny_services: Services) -> AugmentationService:
    return AugmentationService(tiny_services.checkpoint, SimpleNamespace(load=lambda: None), KnownTrust())


def planned(plan) -> dict[tuple[str, str], int]:
    return {(cell.record.cancer_type, cell.record.center): cell.planned_tiles for cell in plan.cells}


def left_out(plan) -> dict[tuple[str, str], str]:
    return {(c.record.cancer_type, c.record.center): c.left_out for c in plan.cells if c.left_out}


def test_cells_have_their_tiles_patients_support_and_trust(service):
    plan = service.plan(tiles(), PlanConfig())
    cell = next(cell for cell in plan.cells if cell.record.center == "Paris")
    assert (cell.real_tiles, cell.real_patients) == (4, 2)
    assert (cell.support_tiles, cell.support_patients, cell.trust) == (20, 3, 0.2)
    assert plan.target["tiles_without_a_cell"] == 2
    assert sum(cell.real_tiles for cell in plan.cells) == len(tiles()) - 2


def test_uniform_fills_every_cell_that_the_checkpoint_knows(service):
    plan = service.plan(tiles(), PlanConfig())
    assert planned(plan) == {(BREAST, "Lyon"): 0, (BREAST, "Paris"): 4, (LUNG, "Lyon"): 6, (LUNG, "Mars"): 0}
    assert list(left_out(plan)) == [(LUNG, "Mars")]
    assert "center='Mars' is not in this checkpoint's vocabulary" in left_out(plan)[LUNG, "Mars"]


def test_a_cell_that_the_target_leaves_alone_is_not_called_left_out(service):
    plan = service.plan(tiles(), PlanConfig(min_trust=0.95))
    assert (BREAST, "Lyon") not in left_out(plan), "the largest cell: nothing was asked for"
    assert (BREAST, "Paris") in left_out(plan)


def test_synthetic_rows_are_no_real_tiles(service):
    mixed = pd.concat([tiles().assign(origin="real"), tiles().assign(origin="synthetic")], ignore_index=True)
    assert service.plan(mixed, PlanConfig()) == service.plan(tiles(), PlanConfig())


def test_cells_below_the_threshold_of_trust_are_left_out_and_listed(service):
    plan = service.plan(tiles(), PlanConfig(min_trust=0.5))
    assert planned(plan)[BREAST, "Paris"] == 0
    assert left_out(plan)[BREAST, "Paris"] == "trust 0.20 is below 0.50"
    assert planned(plan)[LUNG, "Lyon"] == 6, "what is not measured is no low trust"
    strict = service.plan(tiles(), PlanConfig(min_trust=0.5, measured_only=True))
    assert strict.num_tiles == 0
    assert left_out(strict)[LUNG, "Lyon"] == "its trust is not measured"


def test_without_a_reference_set_nothing_is_trusted_or_distrusted(tiny_services):
    plan = tiny_services.augmentation.plan(tiles(), PlanConfig())
    assert {cell.trust for cell in plan.cells} == {None}
    assert plan.num_tiles == 10
    for config in (PlanConfig(min_trust=0.1), PlanConfig(measured_only=True)):
        with pytest.raises(PlanError, match="trust was not measured, so it cannot decide: there is no reference set"):
            tiny_services.augmentation.plan(tiles(), config)
    with pytest.raises(ReferenceSetError):
        tiny_services.augmentation.training_tiles()


def test_empty_combinations_are_planned_when_asked_for(service):
    plan = service.plan(tiles(), PlanConfig(with_empty=True))
    assert planned(plan)[LUNG, "Paris"] == 8
    empty = next(c for c in plan.cells if c.record == MetadataRecord(cancer_type=LUNG, center="Paris"))
    assert (empty.real_tiles, empty.support_patients) == (0, 0)
    assert (BREAST, "Mars") not in planned(plan), "a center that the checkpoint does not know is crossed with nothing"


def test_worst_fills_only_what_is_named(service):
    named = PlanConfig(target=Target(WORST), chosen=((LUNG, "Lyon"),))
    assert {key: num for key, num in planned(service.plan(tiles(), named)).items() if num} == {(LUNG, "Lyon"): 6}


def test_a_named_cell_without_a_tile_is_planned_for_and_a_misspelled_one_is_refused(service):
    named = PlanConfig(target=Target(WORST), chosen=((LUNG, "Paris"), (LUNG, "Lyon")))
    plan = service.plan(tiles(), named)
    assert {key: num for key, num in planned(plan).items() if num} == {(LUNG, "Paris"): 8, (LUNG, "Lyon"): 6}
    assert next(c.real_tiles for c in plan.cells if c.record.center == "Paris" and c.record.cancer_type == LUNG) == 0
    assert len(plan.cells) == len(service.plan(tiles(), PlanConfig()).cells) + 1, "and no other empty cell"
    with pytest.raises(PlanError, match=r"no cell Lung_adenocarcinoma \| Pariss: .* know its center"):
        service.plan(tiles(), PlanConfig(target=Target(WORST), chosen=((LUNG, "Pariss"),)))


def test_match_and_lift_reach_the_rule_behind_them(service):
    shares = {(BREAST, "Lyon"): 1.0, (LUNG, "Lyon"): 1.0}
    matched = service.plan(tiles(), PlanConfig(target=Target(MATCH), shares=shares))
    assert {key: num for key, num in planned(matched).items() if num} == {(LUNG, "Lyon"): 6}
    lifted = service.plan(tiles(), PlanConfig(target=Target(LIFT, quantile=0.5)))
    assert planned(lifted)[LUNG, "Lyon"] == 1, "to 3, the median of 8, 4, 2 and 1"


def test_numbers_fall_into_the_bins_of_the_checkpoint(service):
    counts = count_cells(tiles(), ("eosin",), service._checkpoint.vocabulary)
    assert dict(zip(counts.index, counts["tiles"], strict=True)) == {("4",): 9, ("1",): 8}
    plan = service.plan(tiles(), PlanConfig(by=("cancer_type", "eosin")))
    assert {cell.record.eosin for cell in plan.cells} == {"1", "4"}


def test_the_table_has_a_row_a_cell_and_the_most_planned_first(service):
    table = plan_table(service.plan(tiles(), PlanConfig()))
    assert table["planned_tiles"].tolist() == [6, 4, 0, 0]
    assert table.loc[0, ["cancer_type", "center"]].tolist() == [LUNG, "Lyon"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (lambda: PlanConfig(by=("scanner",)), "not conditioned on scanner; cross some of: cancer_type"),
        (lambda: PlanConfig(by=()), "name one attribute"),
        (lambda: PlanConfig(by=("center", "center")), "each once"),
        (lambda: PlanConfig(min_trust=2), "min_trust = 2"),
        (lambda: PlanConfig(chosen=(("Lyon",),)), "one value each of cancer_type, center"),
        (lambda: PlanConfig(target=Target(WORST)), "name the cells"),
    ],
)
def test_what_cannot_be_planned_is_named(service, config, words):
    with pytest.raises(PlanError, match=words):
        service.plan(tiles(), config())


def test_too_many_cells_are_refused(service, monkeypatch):
    monkeypatch.setattr("medi_core.services.augmentation.MAX_CELLS", 3)
    with pytest.raises(PlanError, match="has 4 cells, at most 3"):
        service.plan(tiles(), PlanConfig())


def test_a_plan_runs_on_its_own_checkpoint_only_and_with_known_values(service):
    plan = service.plan(tiles(), PlanConfig())
    service.require_runnable(plan)
    with pytest.raises(PlanError, match="was made for the checkpoint other@1, loaded is tiny@"):
        service.require_runnable(dataclasses.replace(plan, checkpoint="other@1"))
    with pytest.raises(PlanError, match="asks for no tile"):
        service.require_runnable(service.plan(tiles(), PlanConfig(target=Target(UNIFORM, level=0))))
    strange = dataclasses.replace(plan.cells[0], record=MetadataRecord(center="Mars"), planned_tiles=1)
    with pytest.raises(PlanError, match="cannot be run: center='Mars'"):
        service.require_runnable(dataclasses.replace(plan, cells=(strange,)))
