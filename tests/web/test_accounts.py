"""Who may enter. Run: pytest tests/web/test_accounts.py"""

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.web.accounts import parse_accounts


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("anna:secret", [("anna", "secret")]),
        (" anna : secret , ben:a:b ,", [("anna", "secret"), ("ben", "a:b")]),
    ],
)
def test_pairs(text, pairs):
    assert parse_accounts(text) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anna", "entry 1 of 1 has no password"),
        (" , ,", "no user:password pair is in it"),
        ("anna:s3cret,:s3cret", "entry 2 of 2 has no user"),
        ("anna:s3cret,anna:s3cret2", "names a user twice"),
    ],
)
def test_what_is_no_pair_is_told_without_a_password(text, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        parse_accounts(text)
    assert "s3cret" not in str(caught.value)
