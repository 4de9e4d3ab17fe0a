"""The command that prepares a model and a Space for the Hugging Face Hub, and pushes them if told so."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command
from medi_core.errors import CheckpointError, PublishError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Heavy imports stand inside the commands that need them: `--help` answers at once.
DEFAULT_OUT = Path("outputs") / "publish"


def add_publish_commands(commands) -> None:
    """publish."""
    summary = "prepare the model and the Space for the Hugging Face Hub; --push sends them"
    command = add_command(commands, "publish", publish, summary, text=publish_text)
    command.add_argument("--checkpoint", help="name below checkpoints/, or a folder (default: medi-128-fast)")
    command.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"holds model/ and space/ ({DEFAULT_OUT})")
    command.add_argument("--model", metavar="OWNER/NAME", help="repository of the model")
    command.add_argument("--space", metavar="OWNER/NAME", help="repository of the Space")
    command.add_argument("--push", action="store_true", help="to --model and --space, with the token in HF_TOKEN")
    command.add_argument("--private", action="store_true", help="new repositories are seen by their owner only")
    command.add_argument("--update", action="store_true", help="push to repositories that are there already")
    command.add_argument("--hardware", metavar="FLAVOUR", help="of a new Space, e.g. cpu-basic or zero-a10g (ZeroGPU)")


def publish(flags: argparse.Namespace) -> dict[str, Any]:
    """Prepare, and with --push send."""
    from medi_core.services.publishing import check_repo_id, commit_of, prepare_model, prepare_space, push
    from medi_core.settings import PROJECT_ROOT, Settings

    settings = Settings.from_environment(checkpoint=flags.checkpoint)
    for repo_id in filter(None, (flags.model, flags.space)):
        check_repo_id(repo_id)
    api = hub(flags) if flags.push else None
    checkpoint = _checkpoint_folder(settings.checkpoint, settings.checkpoints_dir)
    publications = [
        prepare_model(PROJECT_ROOT, checkpoint, flags.out, flags.model),
        prepare_space(PROJECT_ROOT, flags.out, flags.space, flags.model),
    ]
    commit, changed = commit_of(PROJECT_ROOT)
    pushed: dict[str, str] = {}
    if api is not None:
        pushed = push(publications, api, flags.private, flags.update, flags.hardware, _progress(flags))
    return {
        "commit": commit,
        "not_committed": changed,
        **{publication.kind: publication.to_dict() for publication in publications},
        "pushed": pushed,
    }


def hub(flags: argparse.Namespace) -> "HfApi":
    """The hub, with a token.

    Raises:
        PublishError: nowhere to push to, a flavour that does not exist, or no token.
    """
    from huggingface_hub import HfApi, get_token

    from medi_core.services.publish_checks import HARDWARE
    from medi_core.services.publishing import TOKEN_ADVICE

    if not (flags.model or flags.space):
        raise PublishError("--push where? Give --space owner/name, --model owner/name, or both")
    if flags.hardware not in (None, *HARDWARE):
        raise PublishError(f"--hardware {flags.hardware}: allowed are {', '.join(HARDWARE)}")
    token = get_token()
    if token is None:
        raise PublishError(f"no token for the hub: {TOKEN_ADVICE}")
    return HfApi(token=token)


def publish_text(answer: dict[str, Any]) -> str:
    """What would be, or was, pushed."""
    lines = [f"Commit {answer['commit']}."]
    if answer["not_committed"]:
        lines.append(f"Not in it, for they are not committed: {', '.join(answer['not_committed'])}.")
    for kind in ("model", "space"):
        facts = answer[kind]
        size = f"{facts['files']} files, {facts['bytes'] / 1e6:.1f} MB, the largest {facts['largest']}"
        lines.append(
            f"{kind}: {facts['folder']} ({size}) → {answer['pushed'].get(kind) or facts['repo'] or 'nowhere yet'}"
        )
        if facts["commit"] is None:
            lines.append("  of no commit: git does not track this checkpoint, so it is as it is on disk now")
        if facts["large_files"]:
            lines.append(f"  to large file storage: {', '.join(facts['large_files'])}")
    if not answer["pushed"]:
        lines.append("Nothing was pushed: --push --model owner/name --space owner/name does.")
    return "\n".join(lines)


def _checkpoint_folder(name: str, root: Path) -> Path:
    for folder in (root / name, Path(name)):
        if folder.is_dir():
            return folder.resolve()
    raise CheckpointError(f"checkpoint {name!r} is neither a folder nor a name below {root}")


def _progress(flags: argparse.Namespace):
    return (lambda _: None) if flags.json else (lambda step: print(f"{step} …", file=sys.stderr, flush=True))
