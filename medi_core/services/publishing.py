"""Two folders for the Hugging Face Hub, a model and a Space, prepared from what git tracks, and pushed.

Nothing leaves the machine before both folders are whole and free of faults.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, metadata_load
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from medi_core.checkpoint_checks import check_checkpoint
from medi_core.classifier_checkpoint import load_classifier
from medi_core.errors import PublishError
from medi_core.services.publish_checks import CARD, LARGE_BYTES, files_of, model_faults, space_faults
from medi_core.storage import replaced_folder, translate_write_errors

LEFT_OUT = (".gitattributes", ".gitignore", ".ci")
"""Of the Space: the hub has its own .gitattributes, which say what goes to its large file storage."""
LICENCE, LICENCE_OF_WEIGHTS = "LICENSE", "cc-by-nc-sa-4.0"
"""checkpoints/LICENSE is the text of this one; a card with another has to bring its own."""
TOKEN_ADVICE = (
    "make one with write access at https://huggingface.co/settings/tokens and set HF_TOKEN, or run `hf auth login`"
)


@dataclass(frozen=True)
class Publication:
    """A folder that may be pushed as it is."""

    kind: str
    """model or space."""
    folder: Path
    repo_id: str | None
    """owner/name, or `None` as long as nobody has said where it goes."""
    commit: str | None
    """Of the project, whose files these are; `None` of a checkpoint that is not in it."""

    def to_dict(self) -> dict[str, Any]:
        """Facts to look at before anything is pushed."""
        sizes = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files_of(self.folder)}
        return {
            "folder": str(self.folder),
            "repo": self.repo_id,
            "commit": self.commit,
            "files": len(sizes),
            "bytes": sum(sizes.values()),
            "largest": max(sizes, key=sizes.get),
            "large_files": [name for name, size in sizes.items() if size >= LARGE_BYTES],
        }


def check_repo_id(repo_id: str) -> str:
    """The name itself.

    Raises:
        PublishError: not `owner/name` as the hub allows it.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"{repo_id!r} is no name of a repository: {error}") from error
    if repo_id.count("/") != 1:
        raise PublishError(f"{repo_id!r}: write owner/name, where owner is your user or organization on the hub")
    return repo_id


def commit_of(root: Path) -> tuple[str, list[str]]:
    """The commit that would be published, and the tracked files that differ from it.

    Raises:
        PublishError: the project is no git repository.
    """
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").decode().splitlines()
    return _git(root, "rev-parse", "--short=12", "HEAD").decode().strip(), [line[3:] for line in changed]


def prepare_space(root: Path, out: Path, repo_id: str | None = None, model_id: str | None = None) -> Publication:
    """The project's tracked files as they were committed last, as a Space.

    Args:
        root: of the project's git repository.
        out: the folder `space` is made in it, in the place of an older one.
        model_id: named in the front matter, so that the hub links the two.

    Raises:
        PublishError: something in it must not be published; the message lists what.
        StorageError: the folder cannot be written.
    """
    commit, _ = commit_of(root)
    with replaced_folder(out / "space") as folder:
        _unpack(_git(root, "archive", "--format=tar", "HEAD"), folder, "the Space")
        for name in LEFT_OUT:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _refuse(space_faults(folder), "the Space")
        if model_id is not None and "models" not in metadata_load(folder / CARD):
            card = (folder / CARD).read_text("utf-8")
            (folder / CARD).write_text(card.replace("\n---\n", f"\nmodels:\n  - {model_id}\n---\n", 1), "utf-8")
    return Publication("space", out / "space", repo_id, commit)


def prepare_model(root: Path, checkpoint: Path, out: Path, repo_id: str | None = None) -> Publication:
    """A checkpoint as a model repository: its files, its card, and the licence of the weights.

    Of a checkpoint that git tracks, the files as they were committed last. One that it does not track, elsewhere or
    trained just now, is taken as it is, without hidden files, and is of no commit.

    Args:
        root: as for the Space.
        checkpoint: folder of a generator or of a tile classifier.
        out: the folder `model` is made in it.

    Raises:
        CheckpointError: it is damaged, inconsistent or pickled.
        PublishError: something in it must not be published; the message lists what.
        StorageError: the folder cannot be written.
    """
    commit, _ = commit_of(root)
    tracked = _tracked(root, checkpoint)
    with tempfile.TemporaryDirectory() as temporary, replaced_folder(out / "model") as folder:
        taken = Path(temporary) / (tracked or checkpoint.name)  # messages about its files name its last part
        with translate_write_errors(temporary):
            if tracked is None:
                shutil.copytree(checkpoint, taken, ignore=shutil.ignore_patterns(".*"))
            else:
                _unpack(_git(root, "archive", "--format=tar", "HEAD", "--", tracked), Path(temporary), "the model")
        if (taken / "model_index.json").is_file():
            check_checkpoint(taken)
        else:
            load_classifier(taken)
        _refuse(model_faults(taken), "the model")
        shutil.copytree(taken, folder, dirs_exist_ok=True)
        licence = _tracked(root, root / "checkpoints" / LICENCE)
        if licence is not None and metadata_load(folder / CARD)["license"] == LICENCE_OF_WEIGHTS:
            (folder / LICENCE).write_bytes(_git(root, "show", f"HEAD:./{licence}"))
        if repo_id is not None:
            card = (folder / CARD).read_text("utf-8").replace(f'"checkpoints/{checkpoint.name}"', f'"{repo_id}"')
            (folder / CARD).write_text(card, "utf-8")
    return Publication("model", out / "model", repo_id, commit if tracked else None)


def push(
    publications: list[Publication],
    api: HfApi,
    private: bool = False,
    update: bool = False,
    hardware: str | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Make the repositories, then send the folders: a repository then holds exactly the files of its folder.

    Args:
        api: with a token.
        private: only for repositories that are made now.
        update: repositories may be there already.
        hardware: of a Space that is made now; `None` = what the hub gives.
        on_step: told what is done next.

    Returns:
        Kind → address.

    Raises:
        PublishError: no right, a name that is taken, no network; the message says what has been pushed by then.
    """
    wanted, addresses = [publication for publication in publications if publication.repo_id], {}
    for publication in wanted:
        on_step(f"making {publication.kind} {publication.repo_id}")
        options = {"space_sdk": "gradio", "space_hardware": hardware} if publication.kind == "space" else {}
        made = _ask_hub(
            publication,
            addresses,
            lambda publication=publication, options=options: api.create_repo(
                publication.repo_id, repo_type=publication.kind, private=private or None, exist_ok=update, **options
            ),
        )
        addresses[publication.kind] = str(made)
    pushed: dict[str, str] = {}
    for publication in wanted:
        on_step(f"sending {publication.kind} {publication.repo_id}")
        _ask_hub(
            publication,
            pushed,
            lambda publication=publication: api.upload_folder(
                repo_id=publication.repo_id,
                repo_type=publication.kind,
                folder_path=publication.folder,
                commit_message=f"MeDi Explorer, {publication.commit or 'of no commit'}",
                delete_patterns="*",  # what is no longer in the project is no longer in the repository
            ),
        )
        pushed[publication.kind] = addresses[publication.kind]
    return pushed


def _ask_hub(publication: Publication, pushed: dict[str, str], call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (HTTPError, OSError, ValueError) as error:
        done = f" (there by now: {', '.join(pushed.values())})" if pushed else ""
        raise PublishError(f"{publication.kind} {publication.repo_id}: {_reason(error)}{done}") from error


def _reason(error: Exception) -> str:
    """What went wrong and what to do, of an answer of the hub or of none."""
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, ValueError):
            return " ".join(str(error).split())
        return f"the hub cannot be reached ({' '.join(str(error).split()) or type(error).__name__}); try again online"
    said = " ".join((error.server_message or str(error)).split())
    return {
        401: f"the hub does not accept the token; {TOKEN_ADVICE}",
        402: f"the hub wants a paid plan for this: {said}; a free account can have a Space on ZeroGPU "
        "(--hardware zero-a10g)",
        403: f"the token may not write there: {said}; give a name of your own, or a token with write access",
        409: "this name is taken; give another one, or --update to push to what is there",
        413: f"too large for the hub: {said}",
        429: "the hub has had too many requests; wait some minutes",
    }.get(error.response.status_code, f"the hub refused: {said}")


def _tracked(root: Path, path: Path) -> str | None:
    """Where in the project a file or folder is, if it was there when something was committed last."""
    root, path = root.resolve(), path.resolve()
    if not path.is_relative_to(root):
        return None
    inside = path.relative_to(root).as_posix()
    return inside if _git(root, "ls-tree", "HEAD", "--", inside) else None


def _unpack(archive: bytes, folder: Path, what: str) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
    except tarfile.FilterError as error:  # a link that leads out of the folder
        _refuse([f"{error.tarinfo.name}: a link; put the file itself there"], what)


def _refuse(faults: list[str], what: str) -> None:
    if faults:
        raise PublishError(f"{what} cannot be published: {'; '.join(faults)}")


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise PublishError("git is not installed; what is published is what git tracks") from error
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())
        raise PublishError(
            f"{root} is no git repository with a commit ({said}); what git tracks is what is published: clone it"
        ) from error
