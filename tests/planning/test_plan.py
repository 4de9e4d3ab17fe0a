import json

import pytest

from medi_core.errors import PlanError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import MAX_TILES_A_CELL, AugmentationPlan, PlannedCell, read_plan, write_plan


def cell(center: str = "A", planned: int = 3, **changes) -> PlannedCell:
    facts = {"real_tiles": 5, "real_patients": 2, "support_tiles": 4, "support_patients": 1, "trust": 0.5} | changes
    return PlannedCell(MetadataRecord(cancer_type="Lung", center=center), planned_tiles=planned, **facts)


def plan(*cells: PlannedCell, **changes) -> AugmentationPlan:
    facts = {"checkpoint": "toy@1", "by": ("cancer_type", "center"), "target": {"kind": "uniform"}} | changes
    return AugmentationPlan(cells=cells or (cell(),), **facts)


def test_a_plan_survives_its_file(tmp_path):
    written = plan(cell("A"), cell("B", 0, trust=None, left_out="trust is not measured"), seed=20_260_101)
    write_plan(written, tmp_path / "new" / "plan.json")
    assert read_plan(tmp_path / "new" / "plan.json") == written


def test_a_file_holds_no_cell_of_which_nothing_is_made_and_nothing_to_be_said(tmp_path):
    idle = [cell(center, 0) for center in "CDE"]
    written = plan(cell("A"), *idle, cell("B", 0, left_out="trust 0.10 is below 0.50"))
    write_plan(written, tmp_path / "plan.json")
    read = read_plan(tmp_path / "plan.json")
    assert [kept.record.center for kept in read.cells] == ["A", "B"]
    assert (read.id, read.num_tiles) == (written.id, written.num_tiles), "it makes the same tiles"


def test_a_tile_keeps_its_seed_whatever_else_is_planned():
    assert cell("A", 3).seed_of(2, 0) == cell("A", 900, real_tiles=77).seed_of(2, 0)


def test_seeds_differ_between_tiles_cells_and_plan_seeds():
    seeds = [cell(center).seed_of(k, seed) for center in "ABC" for k in range(50) for seed in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_the_id_changes_with_what_decides_the_tiles_and_with_nothing_else():
    base = plan(cell("A"), cell("B"))
    same = plan(cell("B", trust=None), cell("A", real_tiles=9), target={"kind": "lift"})
    assert same.id == base.id
    others = [
        plan(cell("A"), cell("B", 4)),
        plan(cell("A"), cell("B"), seed=1),
        plan(cell("A"), cell("B"), checkpoint="toy@2"),
        plan(cell("A"), cell("B"), num_inference_steps=20),
        plan(cell("A"), cell("B"), guidance_scale=3.0),
    ]
    assert len({base.id, *(other.id for other in others)}) == 6


def test_cells_without_tiles_do_not_change_the_id():
    assert plan(cell("A"), cell("B", 0)).id == plan(cell("A")).id


def test_two_cells_of_the_same_values_are_refused():
    with pytest.raises(PlanError, match="two cells"):
        plan(cell("A"), cell("A", 5))


def test_an_unknown_attribute_to_cross_is_named():
    with pytest.raises(PlanError, match="hospital"):
        plan(by=("hospital",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "format 1"),
        ({"cells": None}, "cannot be read"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**53}, "seed = 9007199254740992"),
        ({"num_inference_steps": 0}, "steps = 0"),
        ({"num_inference_steps": 500}, "num_inference_steps = 500"),
        ({"guidance_scale": 50}, "guidance = 50"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"cells": [{}]}, "has no 'record'"),
        ({"cells": [cell().__dict__ | {"record": {"hospital": "A"}}]}, "hospital"),
        ({"cells": [cell().__dict__ | {"record": {"center": 3}}]}, "must map"),
        ({"cells": [cell().__dict__ | {"record": {}, "planned_tiles": MAX_TILES_A_CELL + 1}]}, "cell 0: planned_tiles"),
        ({"cells": [cell().__dict__ | {"record": {}, "planned_tiles": True}]}, "cell 0: planned_tiles"),
    ],
)
def test_a_plan_that_cannot_be_used_is_refused_by_name(change, words):
    with pytest.raises(PlanError, match=words):
        AugmentationPlan.from_dict(plan().to_dict() | change)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, '{"format": 1}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError):
        read_plan(tmp_path / "plan.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"nowhere\.json"):
        read_plan(tmp_path / "nowhere.json")


def test_a_plan_is_plain_json():
    assert json.loads(json.dumps(plan().to_dict())) == plan().to_dict()
