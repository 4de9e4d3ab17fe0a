"""Who may enter, from one line of settings: `anna:secret,ben:other`. Knows no requests."""

from medi_core.errors import InvalidRequestError


def parse_accounts(text: str) -> list[tuple[str, str]]:
    """Pairs of user and password; blank text = none, and everybody may enter. A password may hold colons, no commas.

    Raises:
        InvalidRequestError: something else than `user:password` pairs. The message quotes no password.
    """
    pairs = [tuple(part.strip() for part in pair.partition(":")[::2]) for pair in text.split(",") if pair.strip()]
    if text.strip() and not pairs:
        raise InvalidRequestError(
            f"MEDI_AUTH = {text.strip()}: no user:password pair is in it; leave it empty to let everybody in"
        )
    names = [user for user, _ in pairs]
    for i, (user, password) in enumerate(pairs, start=1):
        if not user or not password:
            raise InvalidRequestError(
                f"MEDI_AUTH: entry {i} of {len(pairs)} has no {'password' if user else 'user'}; "
                "write user:password pairs with commas between them, e.g. anna:secret,ben:other"
            )
    if len(set(names)) < len(names):
        raise InvalidRequestError(f"MEDI_AUTH names a user twice ({', '.join(names)}); name each once")
    return pairs
