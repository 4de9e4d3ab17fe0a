"""The eight tiles a first visitor sees: made from the loaded checkpoint, kept with their provenance."""

from pathlib import Path

from medi_core.data.tile_files import encode_png, read_provenance
from medi_core.errors import StorageError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import PAIR_SEPARATOR
from medi_core.services.generation import GeneratedTile, GenerationRequest, GenerationService

NUM_TILES = 8
FIRST_SEED = 2026


class WelcomeService:
    """Welcome tiles as PNG bytes; files of another checkpoint are ignored, never shown."""

    def __init__(self, generation: GenerationService, folder: Path) -> None:
        self._generation, self._folder = generation, folder

    def requests(self) -> list[GenerationRequest]:
        """One tile each of the best supported (cancer type, center) pairs, cancer types first."""
        pairs = self._generation.vocabulary.pair_support
        ordered = sorted(pairs, key=lambda key: (-pairs[key].num_patients, -pairs[key].num_tiles))
        first_of_type: dict[str, str] = {}
        for key in ordered:
            first_of_type.setdefault(key.split(PAIR_SEPARATOR)[0], key)
        chosen = list(dict.fromkeys([*first_of_type.values(), *ordered]))[:NUM_TILES]
        requests = []
        for i, key in enumerate(chosen):
            cancer_type, center = key.split(PAIR_SEPARATOR)
            requests.append(GenerationRequest(MetadataRecord(cancer_type, center), (FIRST_SEED + i,)))
        return requests

    def cached(self) -> list[tuple[bytes, MetadataRecord, int]]:
        """(PNG, record, seed) of the stored tiles if they are all of the loaded checkpoint, else nothing."""
        found = []
        for path in sorted(self._folder.glob("*.png")):
            png = path.read_bytes()
            provenance = read_provenance(png)
            if provenance is None or provenance["checkpoint"] != self._generation.checkpoint.id:
                return []
            found.append((png, MetadataRecord(**provenance["metadata"]), provenance["seed"]))
        return found

    def make(self) -> list[GeneratedTile]:
        """Generate the welcome tiles."""
        return [tile for request in self.requests() for tile in self._generation.generate(request)]

    def store(self) -> list[Path]:
        """Generate and write them where `cached` finds them."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("*.png"):
                old.unlink()
            paths = []
            for i, tile in enumerate(self.make()):
                path = self._folder / f"welcome-{i + 1}.png"
                path.write_bytes(encode_png(tile.image, tile.provenance()))
                paths.append(path)
        except OSError as error:
            raise StorageError(f"could not write to {self._folder}: {error.strerror or error}") from error
        return paths
