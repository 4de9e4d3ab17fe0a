"""A vocabulary that learns new values and keeps the ids of the old ones. Knows no tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from medi_core.errors import UnknownValueError
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import Support, Vocabulary, pair_of, support_by_key

VALUES_SHOWN = 5


def new_values(vocabulary: Vocabulary, rows: Sequence[Mapping[str, Any]], attribute: str) -> list[str]:
    """Values of a categorical attribute that the vocabulary does not know, sorted."""
    return sorted({row.get(attribute) for row in rows} - {None, *vocabulary.values[attribute]})


def grow(
    vocabulary: Vocabulary, rows: Sequence[Mapping[str, Any]], patients: Sequence[str | None], attributes: Sequence[str]
) -> Vocabulary:
    """The vocabulary with the new values of training tiles, and the support of what is new.

    Ids of old values, bin edges and the support of old values and pairs stay, for the tiles teach nothing about those;
    new values follow the old, sorted, and the null id follows them.

    Args:
        rows: one mapping a tile: attribute → value, `None` if absent.
        patients: patient id of each row, or `None`; none of them of the old training set.
        attributes: those that may get new values, as `require_growable` allows them.

    Raises:
        UnknownValueError: no new value, or new values of another attribute.
    """
    new = {name: new_values(vocabulary, rows, name) for name in vocabulary.values if _is_categorical(name)}
    for name, values in new.items():
        if values and name not in attributes:
            shown = ", ".join(values[:VALUES_SHOWN]) + (" …" if len(values) > VALUES_SHOWN else "")
            raise UnknownValueError(
                f"{name}: this checkpoint does not know {shown}; map them to what it knows, leave the cells empty, "
                f"or let this attribute grow too: {','.join([*attributes, name])}"
            )
    if not any(new[name] for name in attributes):
        raise UnknownValueError(
            f"no training tile has a new {' or '.join(attributes)}: this checkpoint knows them, or the column is "
            "empty; give training rows of a new one"
        )
    support = {name: support_by_key([row.get(name) for row in rows], patients) for name in attributes}
    return replace(
        vocabulary,
        values={name: (*values, *new.get(name, ())) for name, values in vocabulary.values.items()},
        support={name: support.get(name, {}) | known for name, known in vocabulary.support.items()},
        pair_support=support_by_key([pair_of(row) for row in rows], patients) | vocabulary.pair_support,
        total=Support(
            vocabulary.total.num_tiles + len(rows),
            vocabulary.total.num_patients + len(set(filter(None, patients))),
        ),
    )


def require_growable(vocabulary: Vocabulary, attributes: Sequence[str]) -> None:
    """Refuse attributes that the checkpoint is not conditioned on, or that are bins of a number.

    Raises:
        UnknownValueError: it names those that can get new values.
    """
    able = [name for name in vocabulary.attributes if _is_categorical(name)]
    if odd := [name for name in attributes if name not in able]:
        raise UnknownValueError(f"{', '.join(odd)} cannot get new values; some of these can: {', '.join(able)}")


def _is_categorical(name: str) -> bool:
    return ATTRIBUTE[name].kind == "categorical"
