"""What is prepared for the hub, what is refused, and what arrives. No network: a stand-in for the hub answers."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import HfApi, metadata_load
from PIL import Image

from medi_core.checkpoints import save_checkpoint
from medi_core.cli import main
from medi_core.data.feature_cache import tile_digest
from medi_core.data.tile_files import encode_png
from medi_core.errors import CheckpointError, PublishError
from medi_core.services.publish_checks import model_faults, space_faults
from medi_core.services.publishing import check_repo_id, prepare_model, prepare_space, push
from tests.toy_classifier import save_toy_classifier
from tests.toy_hub import running_hub
from tests.toys import build_tiny_pipeline, build_toy_vocabulary

ROOT = Path(__file__).resolve().parents[2]
CARD = """---
license: cc-by-nc-sa-4.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [histopathology]
---
# tiny

    MediPipeline.from_pretrained("checkpoints/tiny")
"""
TISSUE = np.full((32, 32, 3), 180, np.uint8)


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-m", "as it is")


@pytest.fixture(scope="module")
def committed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of this kind, in git: real front matter and requirements, a tiny checkpoint, a synthetic tile."""
    root = tmp_path_factory.mktemp("project")
    for name in ("README.md", "requirements.txt", "pyproject.toml", ".gitattributes", ".gitignore"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "app.py").write_text("print('here')\n")
    (root / "assets").mkdir()
    (root / "assets" / "tile.png").write_bytes(encode_png(TISSUE, {"origin": "synthetic"}))
    save_checkpoint(build_tiny_pipeline(build_toy_vocabulary()), root / "checkpoints" / "tiny", {})
    (root / "checkpoints" / "tiny" / "README.md").write_text(CARD)
    (root / "checkpoints" / "LICENSE").write_text("the licence of the weights\n")
    git(root.parent, "init", "--quiet", str(root))
    commit(root)
    return root


@pytest.fixture
def project(committed_project: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(committed_project, tmp_path / "project")


@pytest.fixture
def hub():
    """Its address, what is in it, and a client with a token."""
    with running_hub() as (url, toy):
        yield toy, HfApi(endpoint=url, token="hf_toy")


def prepared(project: Path, model: str | None = "me/model", space: str | None = "me/space") -> list:
    out = project.parent / "out"
    return [
        prepare_model(project, project / "checkpoints" / "tiny", out, model),
        prepare_space(project, out, space, model),
    ]


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_space_holds_what_was_committed_and_nothing_else(project):
    (project / "app.py").write_text("print('changed, not committed')\n")
    (project / "notes.txt").write_text("not tracked")
    folder = prepared(project)[1].folder
    assert (folder / "app.py").read_text() == "print('here')\n"
    assert set(content_of(folder)) == {
        *("README.md", "app.py", "assets/tile.png", "checkpoints/LICENSE", "pyproject.toml", "requirements.txt"),
        *(f"checkpoints/tiny/{name}" for name in content_of(project / "checkpoints" / "tiny")),
    }


def test_the_space_links_the_model_and_keeps_the_rest_of_its_front_matter(project):
    before, after = (metadata_load(folder / "README.md") for folder in (project, prepared(project)[1].folder))
    assert after == before | {"models": ["me/model"]}
    assert metadata_load(prepared(project, model=None)[1].folder / "README.md") == before


def test_the_model_has_its_card_as_readme_its_licence_and_the_same_weights(project):
    folder, checkpoint = prepared(project)[0].folder, project / "checkpoints" / "tiny"
    assert metadata_load(folder / "README.md")["license"] == "cc-by-nc-sa-4.0"
    assert 'from_pretrained("me/model")' in (folder / "README.md").read_text()
    assert (folder / "LICENSE").read_text() == "the licence of the weights\n"
    for name, content in content_of(checkpoint).items():
        assert name == "README.md" or (folder / name).read_bytes() == content


def test_the_model_holds_what_was_committed_and_nothing_else(project):
    checkpoint = project / "checkpoints" / "tiny"
    committed = content_of(checkpoint) | {"LICENSE": (project / "checkpoints" / "LICENSE").read_bytes()}
    (checkpoint / "model_index.json").write_text("{}")
    (checkpoint / "scheduler" / "scheduler_config.json").unlink()
    (checkpoint / ".DS_Store").write_bytes(b"of the folder")
    (checkpoint / "notes.md").write_text("not tracked")
    (project / "checkpoints" / "LICENSE").write_text("changed, not committed")
    publication = prepare_model(project, checkpoint, project.parent / "out")
    assert content_of(publication.folder) == committed
    assert publication.commit == prepared(project)[1].commit


@pytest.mark.parametrize("place", ["elsewhere", "project/runs"])
def test_a_checkpoint_that_git_does_not_track_is_of_no_commit(project, hub, place):
    checkpoint = shutil.copytree(project / "checkpoints" / "tiny", project.parent / place / "mine")
    (checkpoint / ".DS_Store").write_bytes(b"of the folder")
    publication = prepare_model(project, checkpoint, project.parent / "out", "me/model")
    assert publication.to_dict()["commit"] is None
    assert set(content_of(publication.folder)) == {*content_of(checkpoint), "LICENSE"} - {".DS_Store"}
    toy, api = hub
    push([publication, prepare_space(project, project.parent / "out", "me/space")], api)
    assert toy.messages["model/me/model"] == "MeDi Explorer, of no commit"
    assert re.fullmatch("MeDi Explorer, [0-9a-f]{12}", toy.messages["space/me/space"])


def test_a_link_in_a_committed_checkpoint_is_refused(project):
    (project / "checkpoints" / "tiny" / "elsewhere.md").symlink_to("/etc/passwd")
    commit(project)
    with pytest.raises(PublishError, match=r"^the model cannot be published: .*elsewhere\.md: a link"):
        prepare_model(project, project / "checkpoints" / "tiny", project.parent / "out")


def test_a_classifier_is_a_model_too(project, tmp_path):
    save_toy_classifier(tmp_path / "classifier")
    (tmp_path / "classifier" / "README.md").write_text(CARD)
    assert "model.safetensors" in content_of(prepare_model(project, tmp_path / "classifier", tmp_path / "out").folder)


@pytest.fixture
def space_folder(committed_project: Path, tmp_path: Path) -> Path:
    """The files of a Space without faults."""
    return shutil.copytree(committed_project, tmp_path / "space", ignore=shutil.ignore_patterns(".git"))


def real_image(folder: Path) -> None:
    Image.fromarray(TISSUE).save(folder / "assets" / "tile.png")


def jpeg(folder: Path) -> None:
    Image.fromarray(TISSUE).save(folder / "assets" / "tile.jpg")


def real_pixels_that_claim_to_be_synthetic(folder: Path) -> None:
    pd.DataFrame({"id": [tile_digest(TISSUE)], "origin": ["real"]}).to_parquet(folder / "assets" / "tiles.parquet")


def images_in_a_table(folder: Path) -> None:
    png = encode_png(TISSUE, {"origin": "synthetic"})
    pd.DataFrame({"pixels": [png]}).to_parquet(folder / "assets" / "tiles.parquet")


def pickle(folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"\x80\x04.")


def archive(folder: Path) -> None:
    (folder / "tiles.zip").write_bytes(b"PK")


def link(folder: Path) -> None:
    (folder / "elsewhere").symlink_to("/etc/passwd")


def token(folder: Path) -> None:
    (folder / "app.py").write_text(f"TOKEN = 'hf_{'a' * 34}'\n")


def environment(folder: Path) -> None:
    (folder / ".env").write_text("MEDI_ADMIN_PASSPHRASE=x")


def edit(name: str, old: str, new: str):
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (real_image, "assets/tile.png: an image without the provenance of a synthetic tile"),
        (jpeg, "assets/tile.jpg: an image without the provenance"),
        (real_pixels_that_claim_to_be_synthetic, "assets/tile.png: its pixels are those of a real tile"),
        (images_in_a_table, "assets/tiles.parquet: column pixels holds images"),
        (pickle, "weights.pt: weights are published as safetensors only"),
        (archive, "tiles.zip: nobody can see what is in an archive"),
        (link, "elsewhere: a link"),
        (token, "app.py: it holds a token"),
        (environment, ".env: it holds a token"),
        (edit("README.md", "sdk_version: 6.31.0", "sdk_version: 5.0.0"), "sdk_version 5.0.0 is not what requirements"),
        (edit("README.md", 'python_version: "3.12.12"', 'python_version: "3.11"'), "ZeroGPU has 3.12.12 and 3.10.13"),
        (
            edit("README.md", 'python_version: "3.12.12"', 'python_version: "3.10.13"'),
            "pyproject.toml asks for: >=3.11",
        ),
        (edit("README.md", "colorTo: pink", "colorTo: mauve"), "colorTo is mauve; allowed: blue, gray"),
        (edit("README.md", "license: cc-by-nc-sa-4.0\n", ""), "README.md: its front matter lacks license"),
        (edit("README.md", "app_file: app.py", "app_file: main.py"), "app_file main.py is not there"),
        (edit("README.md", "sdk: gradio", "sdk: docker"), "sdk is docker; it must be gradio"),
        (edit("README.md", "by cancer type", "by cancer type and much else besides"), "more than 60 characters"),
        (edit("README.md", "title: MeDi", "title: ]"), "its front matter cannot be read"),
        (edit("requirements.txt", "torch>=2.8", "torch>=2.14"), "requirements.txt: ZeroGPU has torch 2.8.0, "),
    ],
    ids=lambda value: value.__name__ if callable(value) else value[:40],
)
def test_what_must_not_be_published_is_named(space_folder, spoil, fault):
    assert space_faults(space_folder) == []
    spoil(space_folder)
    (found,) = space_faults(space_folder)
    assert fault in found


@pytest.mark.parametrize(("spoil", "fault"), [(token, "app.py: it holds a token"), (link, "elsewhere: a link")])
def test_nothing_is_left_of_what_was_refused(project, spoil, fault):
    spoil(project)
    commit(project)
    with pytest.raises(PublishError, match=r"^the Space cannot be published: ") as refused:
        prepare_space(project, project.parent / "out")
    assert fault in str(refused.value)
    assert not (project.parent / "out" / "space").exists()


def test_a_model_of_pickles_without_weights_or_with_strange_files_is_refused(project):
    checkpoint = project / "checkpoints" / "tiny"
    (checkpoint / "log.txt").write_text("of the training")
    commit(project)
    with pytest.raises(PublishError, match=r"log\.txt: a model repository holds"):
        prepare_model(project, checkpoint, project.parent / "out")
    (checkpoint / "log.txt").unlink()
    (checkpoint / "optimizer.pt").write_bytes(b"\x80\x04.")
    commit(project)
    with pytest.raises(CheckpointError, match=r"^tiny holds pickled weights \(optimizer\.pt\)"):
        prepare_model(project, checkpoint, project.parent / "out")
    (project / "empty").mkdir()
    assert "no .safetensors: there are no weights" in model_faults(project / "empty")
    assert "README.md is missing" in model_faults(project / "empty")


def test_a_folder_without_git_cannot_be_published(tmp_path):
    with pytest.raises(PublishError, match="is no git repository"):
        prepare_space(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", ["model", "me/my/model", "me/what is this", "me/..", ""])
def test_a_name_that_the_hub_would_not_take_is_refused_at_once(name):
    with pytest.raises(PublishError):
        check_repo_id(name)


def test_the_hub_gets_exactly_the_files_of_both_folders(project, hub):
    toy, api = hub
    publications = prepared(project)
    assert push(publications, api, private=True, hardware="zero-a10g") == {
        "model": f"{api.endpoint}/me/model",
        "space": f"{api.endpoint}/spaces/me/space",
    }
    for publication in publications:
        arrived = toy.repos[f"{publication.kind}/{publication.repo_id}"]
        assert arrived.pop(".gitattributes") == b"of the hub"
        assert arrived == content_of(publication.folder)
    assert {wanted["visibility"] for wanted in toy.made.values()} == {"private"}
    space = toy.made["space/me/space"]
    assert (space["sdk"], space["hardware"]) == ("gradio", "zero-a10g")
    assert "hardware" not in toy.made["model/me/model"]
    assert toy.tokens == {"Bearer hf_toy"}


def test_a_second_push_takes_update_and_removes_what_is_gone(project, hub):
    toy, api = hub
    push(prepared(project), api)
    with pytest.raises(PublishError, match=r"^model me/model: this name is taken; give another one, or --update"):
        push(prepared(project), api)
    (project / "app.py").unlink()
    (project / "start.py").write_text("print('here')\n")
    edit("README.md", "app_file: app.py", "app_file: start.py")(project)
    commit(project)
    push(prepared(project), api, update=True)
    assert {"start.py", ".gitattributes"} <= set(toy.repos["space/me/space"])
    assert "app.py" not in toy.repos["space/me/space"]


def test_a_taken_name_of_the_space_stops_before_the_model_is_sent(project, hub):
    toy, api = hub
    api.create_repo("me/space", repo_type="space", space_sdk="gradio")
    with pytest.raises(PublishError, match=r"^space me/space: this name is taken"):
        push(prepared(project), api)
    assert set(toy.repos["model/me/model"]) == {".gitattributes"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "does not accept the token; make one with write access at https://huggingface.co/settings/tokens"),
        (402, "wants a paid plan for this: said the hub; a free account can have a Space on ZeroGPU"),
        (403, "may not write there: said the hub"),
        (422, "the hub refused: said the hub"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_sentence_that_tells_what_to_do(project, hub, status, message):
    toy, api = hub
    toy.refuse["create"] = (status, "said the hub")
    with pytest.raises(PublishError) as refused:
        push(prepared(project), api)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_refusal_on_the_way_says_what_is_there_by_then(project, hub):
    toy, api = hub
    push(prepared(project, space=None), api)
    toy.refuse["commit"] = (403, "not yours")
    with pytest.raises(PublishError, match=r"^model me/model: the token may not write there: not yours"):
        push(prepared(project), api, update=True)


def test_no_network_is_said_plainly(project):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(PublishError, match=r"^model me/model: the hub cannot be reached .*; try again online$"):
        push(prepared(project), HfApi(endpoint=closed, token="hf_toy"))


@pytest.fixture
def command(project, monkeypatch, tmp_path, capsys):
    """`python -m medi_core publish` in the toy project, with nobody logged in; returns code, stdout, stderr."""
    monkeypatch.setattr("medi_core.settings.PROJECT_ROOT", project)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("MEDI_CHECKPOINTS_DIR", str(project / "checkpoints"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["publish", "--checkpoint", "tiny", "--out", str(tmp_path / "published"), *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_command_says_what_would_be_pushed_and_pushes_nothing(command, project):
    (project / "app.py").write_text("changed")
    code, out, _ = command()
    assert code == 0
    assert "Not in it, for they are not committed: app.py." in out
    assert "Nothing was pushed" in out
    assert "of no commit" not in out
    answer = json.loads(command("--json", "--model", "me/model")[1])
    assert answer["model"]["repo"] == "me/model"
    assert answer["space"]["files"] == len(content_of(Path(answer["space"]["folder"])))
    assert answer["pushed"] == {}


def test_the_command_says_that_a_checkpoint_is_of_no_commit(command, project, tmp_path):
    checkpoint = shutil.copytree(project / "checkpoints" / "tiny", tmp_path / "mine")
    code, out, err = command("--checkpoint", str(checkpoint))
    assert (code, err) == (0, "")
    assert out.count("of no commit: git does not track this checkpoint") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--push",), "error: --push where?"),
        (("--push", "--space", "me/space"), "error: no token for the hub: make one with write access"),
        (("--space", "space"), "error: 'space': write owner/name"),
        (("--push", "--space", "me/space", "--hardware", "fast"), "error: --hardware fast: allowed are cpu-basic"),
        (("--checkpoint", "nothing"), "error: checkpoint 'nothing' is neither"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line_before_anything_is_prepared(command, tmp_path, arguments, message):
    code, _, err = command(*arguments)
    assert code == 2
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "published").exists()


def test_the_command_pushes_with_a_token(command, monkeypatch):
    with running_hub() as (url, toy):
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", url)
        code, out, err = command("--push", "--space", "me/space")
    assert code == 0, err
    assert f"{url}/spaces/me/space" in out
    assert set(toy.repos) == {"space/me/space"}
    assert toy.tokens == {"Bearer hf_mine"}


def test_this_project_can_be_published(tmp_path):
    assert prepare_model(ROOT, ROOT / "checkpoints" / "medi-128", tmp_path).to_dict()["large_files"] == []
    assert prepare_space(ROOT, tmp_path).to_dict()["large_files"] == []
