"""Columns of metadata as subgroups: names as they are, numbers as bins of the training tiles."""

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.services.subgroup_columns import BY, recorded_columns, subgroup_columns

TILES = pd.DataFrame({"true": ["lung", "colon"], "center": ["Lyon", None], "eosin": [0.1, 0.9], "age": [40, 70]})
TILES = TILES.reindex(columns=BY)
TRAINING = pd.DataFrame({"eosin": np.linspace(0, 1, 101), "age": np.nan})


def test_names_stay_and_numbers_become_bins_of_the_training_tiles():
    columns = subgroup_columns(TILES, ["center", "eosin"], TRAINING)
    assert columns["center"].isna().tolist() == [False, True]
    assert columns["eosin"].tolist() == ["1 (below 0.20)", "5 (0.80 and above)"]


def test_a_number_that_training_tiles_do_not_record_is_cut_at_the_quantiles_of_the_tiles_themselves():
    assert subgroup_columns(TILES, ["age"], TRAINING)["age"].tolist() == ["1 (below 70.00)", "2 (70.00 and above)"]


def test_what_is_not_known_of_a_tile_is_in_no_bin():
    tiles = TILES.assign(eosin=[np.nan, 0.5])
    assert subgroup_columns(tiles, ["eosin"], TRAINING)["eosin"].isna().tolist() == [True, False]


def test_no_column_is_a_table_without_columns_and_only_recorded_ones_are_offered():
    assert subgroup_columns(TILES, [], TRAINING).shape == (2, 0)
    assert recorded_columns(TILES) == ["true", "center", "eosin", "age"]


def test_unknown_and_repeated_columns_are_refused():
    with pytest.raises(InvalidRequestError, match="by smell: it must be made of true, cancer_type"):
        subgroup_columns(TILES, ["smell"], TRAINING)
    with pytest.raises(InvalidRequestError, match="by age, age: give each attribute once"):
        subgroup_columns(TILES, ["age", "age"], TRAINING)
