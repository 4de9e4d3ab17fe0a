import croma
import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.robustness import robustness_index


def tiles(num: int, seed: int = 0, class_pull: float = 0.0, center_pull: float = 0.0, num_classes: int = 3):
    """Random tiles of patients with one class and center each; the features hold as much of both as wanted."""
    rng = np.random.default_rng(seed)
    classes, centers = rng.integers(num_classes, size=num), rng.integers(4, size=num)
    patients = [f"{a}-{b}-{rng.integers(3)}" for a, b in zip(classes, centers, strict=True)]
    features = rng.normal(0, 1, (num, 12))
    features += class_pull * np.eye(12)[classes] + center_pull * np.eye(12)[6 + centers]
    return features.astype(np.float32), classes.astype(str), centers.astype(str), patients


def naive_index(features, classes, centers, patients, k) -> tuple[int, int]:
    """The definition, tile by tile, for sets in which every tile can have both kinds of neighbours."""
    points = [x.astype(float) / np.linalg.norm(x.astype(float)) for x in features]
    biology = confounder = 0
    for i in range(len(points)):
        others = [j for j in range(len(points)) if j != i and (patients[i] is None or patients[j] != patients[i])]
        for j in sorted(others, key=lambda j: -points[i] @ points[j])[:k]:
            biology += classes[j] == classes[i] and centers[j] != centers[i]
            confounder += classes[j] != classes[i] and centers[j] == centers[i]
    return biology, confounder


@pytest.mark.parametrize("k", [1, 5, 40])
def test_it_is_the_definition(k):
    features, classes, centers, patients = tiles(150, class_pull=1.0, center_pull=1.0)
    patients = [None if i % 3 == 0 else patient for i, patient in enumerate(patients)]
    found = robustness_index(features, classes, centers, patients, k)
    biology, confounder = naive_index(features, classes, centers, patients, k)
    assert (found.num_same_class_other_center, found.num_other_class_same_center) == (biology, confounder)
    assert found.value == pytest.approx(biology / (biology + confounder))
    assert (found.num_tiles, found.k) == (150, k)
    assert found.num_patients == len({patient for patient in patients if patient})


@pytest.mark.filterwarnings("ignore:dataset")  # it tells of tiles whose neighbours say nothing
def test_it_is_what_an_independent_implementation_says():
    features, classes, centers, patients = tiles(200, seed=3, class_pull=2.0, center_pull=1.0)
    table = pd.DataFrame({"label": classes, "center": centers, "group_id": patients, "image_path": "none"})
    table["sample_id"] = [f"tile {i}" for i in range(len(table))]
    expected = croma.RI.compute(features, table, confounder_column="center", k_candidates=[11])
    assert robustness_index(features, classes, centers, patients, 11).value == pytest.approx(expected.value)


def test_features_of_the_class_alone_give_1_and_of_the_center_alone_0():
    assert robustness_index(*tiles(120, class_pull=50.0), k=3).value == 1.0
    assert robustness_index(*tiles(120, center_pull=50.0), k=3).value == 0.0


def test_as_much_of_the_class_as_of_the_center_is_in_the_middle():
    # as many classes as centers, equally frequent: then neither has more candidates
    index = robustness_index(*tiles(600, class_pull=3.0, center_pull=3.0, num_classes=4), k=9)
    assert index.value == pytest.approx(0.5, abs=0.05)
    assert index.chance == pytest.approx(0.5, abs=0.05)


def test_features_that_say_nothing_give_the_share_of_the_candidates_not_a_half():
    features, classes, centers, patients = tiles(900, num_classes=2)
    index = robustness_index(features, classes, centers, patients, k=20)
    assert index.chance > 0.6
    assert index.value == pytest.approx(index.chance, abs=0.03)


def test_tiles_of_the_same_patient_are_no_neighbours():
    # a patient with tiles at two centers: his tiles are twins, and would all be same-class-other-center
    features, classes, centers, patients = tiles(80, center_pull=20.0)
    twins = np.tile(features[:1], (4, 1)) + np.float32(1e-3) * np.arange(4, dtype=np.float32)[:, None]
    features = np.concatenate([features, twins])
    classes, centers = np.append(classes, ["0"] * 4), np.append(centers, ["0", "1", "2", "3"])
    apart = robustness_index(features, classes, centers, [*patients, "a", "b", "c", "d"], k=3)
    together = robustness_index(features, classes, centers, [*patients, "a", "a", "a", "a"], k=3)
    assert together.num_same_class_other_center < apart.num_same_class_other_center


def test_a_tile_without_patient_excludes_nothing_but_itself():
    features, classes, centers, patients = tiles(100, class_pull=1.0, center_pull=1.0)
    unnamed = robustness_index(features, classes, centers, [None] * 100, k=5)
    alone = robustness_index(features, classes, centers, [f"{i}" for i in range(100)], k=5)
    assert unnamed.num_patients == 0
    assert alone.num_patients == 100
    assert unnamed.value == alone.value
    assert unnamed.value != robustness_index(features, classes, centers, patients, k=5).value


def test_only_tiles_that_can_have_both_kinds_of_neighbours_count():
    features, classes, centers, patients = tiles(60, class_pull=1.0, center_pull=1.0)
    few, labels = features[:5] + 0.1, [f"new {i}" for i in range(5)]
    whole = robustness_index(features, classes, centers, patients, k=60)
    # classes of one center, then centers of one class, then tiles without label
    one_center = robustness_index(
        np.concatenate([features, few]), [*classes, *labels], [*centers, *["0"] * 5], [*patients, *labels], k=65
    )
    one_class = robustness_index(
        np.concatenate([features, few]), [*classes, *["0"] * 5], [*centers, *labels], [*patients, *labels], k=65
    )
    unknown = robustness_index(
        np.concatenate([features, few]), [*classes, *[None] * 5], [*centers, *[np.nan] * 5], [*patients, *labels], k=60
    )
    assert whole.num_tiles == one_center.num_tiles == one_class.num_tiles == 60
    assert one_center.num_same_class_other_center == whole.num_same_class_other_center
    assert one_class.num_other_class_same_center == whole.num_other_class_same_center
    assert unknown == whole


def test_more_neighbours_than_there_are_counts_them_all_and_gives_chance():
    index = robustness_index(*tiles(90, class_pull=1.0), k=10_000)
    assert index.value == pytest.approx(index.chance)


def test_neighbours_that_all_say_nothing_give_no_index():
    features = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)  # twins of one class and center
    index = robustness_index(features, list("aaaabbbb"), list("xxyyxxyy"), [None] * 8, k=1)
    assert np.isnan(index.value)
    assert index.chance == 0.5


@pytest.mark.parametrize(
    ("classes", "centers"),
    [
        (["a"] * 4, ["x", "y", "x", "y"]),
        (["a", "b", "a", "b"], ["x"] * 4),
        (list("abcd"), list("wxyz")),
        ([None] * 4,) * 2,
    ],
)
def test_a_set_without_any_pair_is_refused(classes, centers):
    with pytest.raises(TooFewTilesError, match="of 4 tiles none can have neighbours of both kinds"):
        robustness_index(np.eye(4, dtype=np.float32), classes, centers, list("pqrs"), k=2)


def test_no_neighbour_and_features_without_direction_are_refused():
    features, classes, centers, patients = tiles(20)
    with pytest.raises(InvalidRequestError, match="k = 0"):
        robustness_index(features, classes, centers, patients, k=0)
    features[3, 2], features[7] = np.nan, 0
    with pytest.raises(InvalidRequestError, match="2 of 20 tiles are not finite or all 0"):
        robustness_index(features, classes, centers, patients, k=2)
