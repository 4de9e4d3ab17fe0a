"""The eight tiles a first visitor sees: made from the loaded checkpoint, kept with their provenance."""

import threading
from pathlib import Path

from medi_core.data.tile_files import decode_png, encode_png, read_provenance
from medi_core.errors import MediError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest, request_from
from medi_core.storage import replaced_folder

NUM_TILES = 8
FIRST_SEED = 2026


class WelcomeService:
    """Welcome tiles as PNG bytes; files of another checkpoint are ignored, never shown."""

    def __init__(self, generation: GenerationService, folder: Path) -> None:
        self._generation, self._folder = generation, folder
        self._lock, self._made = threading.Lock(), []

    def requests(self) -> list[GenerationRequest]:
        """One tile each of the best supported (cancer type, center) pairs, cancer types first."""
        ordered = self._generation.vocabulary.pairs_by_support()
        first_of_type: dict[str, tuple[str, str]] = {}
        for pair in ordered:
            first_of_type.setdefault(pair[0], pair)
        chosen = dict.fromkeys(map(self._record, [*first_of_type.values(), *ordered]))
        records = list(chosen)[:NUM_TILES] or [MetadataRecord()]
        return [GenerationRequest(record, (FIRST_SEED + i,)) for i, record in enumerate(records)]

    def _record(self, pair: tuple[str, str]) -> MetadataRecord:
        """What of a pair this checkpoint is conditioned on."""
        values = zip(("cancer_type", "center"), pair, strict=True)
        return MetadataRecord(**{name: v for name, v in values if name in self._generation.vocabulary.attributes})

    def cached(self) -> list[GeneratedTile]:
        """The stored tiles of the loaded checkpoint; whatever else is there is left out."""
        found = []
        for path in sorted(self._folder.glob("*.png")):
            png = _read_or_nothing(path)
            provenance = read_provenance(png)
            if provenance is None or provenance.get("checkpoint") != self._generation.checkpoint.id:
                continue
            try:
                found.append(self._generation.adopt(request_from(provenance), decode_png(png)))
            except MediError:  # a file that cannot be used must not keep the app from starting
                continue
        return found

    def make(self) -> list[GeneratedTile]:
        """Generate the welcome tiles; once, whoever asks."""
        with self._lock:
            for request in self.requests()[len(self._made) :]:
                self._made += self._generation.generate(request)
        return list(self._made)

    def store(self) -> list[Path]:
        """Generate and write them where `cached` finds them, in place of those before.

        Raises:
            StorageError: the folder cannot be written; it is as it was.
        """
        pngs = {f"welcome-{i + 1}.png": encode_png(t.image, t.provenance()) for i, t in enumerate(self.make())}
        with replaced_folder(self._folder) as new:
            for name, png in pngs.items():
                (new / name).write_bytes(png)
        return [self._folder / name for name in pngs]


def _read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
