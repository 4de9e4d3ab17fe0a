"""Which checkpoint each shipped artefact belongs to, and blocks of pages that are written anew. Measures nothing.

A block stands between `<!-- release:NAME -->` and `<!-- /release:NAME -->`. Outside of blocks a page may name the
shipped checkpoint; an earlier one only if the page says that it is meant: `<!-- historic: NAME@DIGEST -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medi_core.data.reference_set import has_reference, read_reference
from medi_core.data.tile_files import read_provenance
from medi_core.errors import InvalidRequestError
from medi_core.storage import translate_write_errors, whole_file

CURRENT, STALE, MISSING, UNRECORDED, BESIDE = "current", "stale", "missing", "not recorded", "of its own"
WELCOME, REFERENCE, CLASS_ONLY, SCREENSHOTS = "welcome", "reference", "class-only", "screenshots"
FIDELITY_BLOCKS = ("made-from", "distance", "probe", "copies", "robustness", "targets")
"""Of docs/fidelity.md, written together."""
REGIONS, EXPERIMENT, MEASURED = "regions", "experiment", "measured"
STAMP = "checkpoint.txt"
"""Beside the screenshots, which hold no text: of which checkpoint they are."""
ID = re.compile(r"\b[\w.-]+@[0-9a-f]{12}\b")
BLOCK = re.compile(r"<!-- release:([\w-]+) -->\n(.*?)<!-- /release:\1 -->", re.DOTALL)
HISTORIC = re.compile(r"<!-- historic: (\S+) -->")


@dataclass(frozen=True)
class Places:
    """Where artefacts are."""

    assets: Path
    docs: Path
    checkpoint: Path
    """Its folder, with the card."""

    @property
    def fidelity(self) -> Path:
        return self.docs / "fidelity.md"

    @property
    def experiment(self) -> Path:
        return self.docs / "experiment.md"

    @property
    def card(self) -> Path:
        return self.checkpoint / "README.md"


@dataclass(frozen=True)
class Artefact:
    """What a checkpoint made, or is said of it."""

    name: str
    """A step of the release, `page:block` or `page`."""
    where: str
    checkpoints: tuple[str, ...]
    """`name@digest` of those it names; none: nothing is recorded."""
    is_there: bool = True

    def status(self, checkpoint_id: str) -> str:
        """`current`, `stale`, `missing`, `not recorded` or, of a class-only checkpoint's tiles, `of its own`."""
        if not self.is_there:
            return MISSING
        if self.name == CLASS_ONLY:
            return BESIDE
        if not self.checkpoints:
            return UNRECORDED
        return CURRENT if set(self.checkpoints) == {checkpoint_id} else STALE


def artefacts(places: Places, checkpoint_id: str) -> list[Artefact]:
    """All of them: files first, then blocks of pages, then pages that name a checkpoint outside of blocks.

    Args:
        checkpoint_id: `name@digest` of the shipped one. Ids of other names (of a classifier) are none of ours.
    """
    return [*_files(places), *_blocks(places, checkpoint_id), *_pages(places, checkpoint_id)]


def block_of(text: str, name: str) -> str | None:
    """What stands in a block of a page, or `None` without such a block."""
    found = [match[2] for match in BLOCK.finditer(text) if match[1] == name]
    return found[0] if found else None


def write_block(page: Path, name: str, content: str, below: str | None = None) -> None:
    """Put content in the place of what stands in a block.

    Args:
        below: the heading, a line, that a block is put below where the page has none: cards are older than blocks.

    Raises:
        InvalidRequestError: the page has no such block.
        StorageError: it cannot be written; it is as it was.
    """
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    if block_of(text, name) is None and below is not None and f"{below}\n" in text:
        text = text.replace(f"{below}\n", f"{below}\n\n<!-- release:{name} -->\n<!-- /release:{name} -->\n", 1)
    if block_of(text, name) is None:
        raise InvalidRequestError(
            f"{page.name} has no block {name!r}: add the lines <!-- release:{name} --> and <!-- /release:{name} --> "
            "where it belongs"
        )
    whole = f"<!-- release:{name} -->\n{content.strip()}\n<!-- /release:{name} -->"
    text = BLOCK.sub(lambda match: whole if match[1] == name else match[0], text)
    with translate_write_errors(str(page)), whole_file(page) as new:
        new.write_text(text, encoding="utf-8")


def ids_outside_blocks(text: str) -> set[str]:
    """Checkpoints that a page names outside of blocks, but for those that it marks as historic."""
    return set(ID.findall(HISTORIC.sub("", BLOCK.sub("", text)))) - set(HISTORIC.findall(text))


def _files(places: Places) -> Iterator[Artefact]:
    welcome = sorted((places.assets / WELCOME).glob("*.png"))
    named = {(read_provenance(path.read_bytes()) or {}).get("checkpoint") for path in welcome} - {None}
    yield Artefact(WELCOME, "assets/welcome/", tuple(sorted(named)), bool(welcome))
    for name in (REFERENCE, CLASS_ONLY):
        folder = places.assets / name
        is_there = has_reference(folder)
        ids = (read_reference(folder).facts.get("checkpoint"),) if is_there else ()
        yield Artefact(name, f"assets/{name}/", tuple(filter(None, ids)), is_there)
    stamp = places.docs / SCREENSHOTS / STAMP
    ids = tuple(ID.findall(stamp.read_text(encoding="utf-8"))) if stamp.exists() else ()
    is_there = any((places.docs / SCREENSHOTS).glob("*.jpg"))
    yield Artefact(SCREENSHOTS, "docs/screenshots/, assets/screenshot.png", ids, is_there)


def _blocks(places: Places, checkpoint_id: str) -> Iterator[Artefact]:
    expected = {
        places.fidelity: (*FIDELITY_BLOCKS, REGIONS),
        places.experiment: (EXPERIMENT,),
        places.card: (MEASURED,),
    }
    for page, names in expected.items():
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        for name in names:
            content = block_of(text, name)
            where = f"{page.parent.name}/{page.name}"
            yield Artefact(f"{where}:{name}", where, _ours(content or "", checkpoint_id), content is not None)


def _pages(places: Places, checkpoint_id: str) -> Iterator[Artefact]:
    """Pages of words that somebody wrote: a figure in them belongs to the checkpoint that the page names."""
    for page in [places.docs.parent / "README.md", *sorted(places.docs.glob("*.md"))]:
        text = " ".join(ids_outside_blocks(page.read_text(encoding="utf-8"))) if page.exists() else ""
        if ids := _ours(text, checkpoint_id):
            yield Artefact(page.name, f"{page.name}, words", ids)


def _ours(text: str, checkpoint_id: str) -> tuple[str, ...]:
    name = checkpoint_id.rpartition("@")[0]
    return tuple(sorted({found for found in ID.findall(text) if found.rpartition("@")[0] == name}))
