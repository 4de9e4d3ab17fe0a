"""The command line: answers, files and refusals. Run: pytest tests/test_cli.py"""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accelerate.state import AcceleratorState
from PIL import Image

from medi_core.cli import main
from medi_core.data.manifest import read_manifest
from medi_core.data.tile_files import encode_png, read_provenance
from medi_core.stain.separation import stain_strengths
from tests.toys import DISTILLED, FEW_STEPS, TEACHER, synthetic_tissue

ROOT = Path(__file__).parent.parent
FAST = ("--steps", "2", "--side-px", "32")
LUNG = ("--cancer-type", "Lung_adenocarcinoma", "--center", "Lyon")


@pytest.fixture
def cli(tiny_checkpoint, tmp_path, monkeypatch, capfd):
    """Runs a command with the tiny checkpoint as default, in a folder of its own; returns code, stdout, stderr."""
    environment = {"CHECKPOINT": "tiny", "DEVICE": "cpu", "DTYPE": "float32", "ASSETS_DIR": str(tmp_path / "assets")}
    environment["CACHE_DIR"] = str(tmp_path / "cache")
    for name, value in (environment | {"CHECKPOINTS_DIR": str(tiny_checkpoint.parent)}).items():
        monkeypatch.setenv(f"MEDI_{name}", value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def answer(cli):
    """The answer of a command with `--json`: the only thing on stdout, and nothing on stderr."""

    def run(*arguments: object) -> dict:
        code, out, err = cli(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)  # NaN is no JSON

    return run


@pytest.fixture
def refusal(cli):
    """The message of a command that fails: exit code 2, one line on stderr and nothing on stdout."""

    def run(*arguments: object) -> str:
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture
def image(tmp_path) -> Path:
    Image.fromarray(synthetic_tissue(75, 1)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


# ------------------------------------------------------------------------ answers


def test_info_tells_what_the_checkpoint_knows(answer, toy_vocabulary):
    told = answer("info")
    assert told.pop("checkpoint").startswith("tiny@")
    assert told == toy_vocabulary.to_dict()


def test_info_for_people_lists_each_value_with_its_support(cli):
    code, out, _ = cli("info")
    assert code == 0
    for line in ("center (Center, 3 values)", "  Paris: seen (20 tiles, 3 patients)", "  1 (below 0.50): never seen"):
        assert line in out.splitlines()
    assert "  Lung_adenocarcinoma @ Lyon: rare (2 tiles, 1 patient)" in out.splitlines()


def test_generate_writes_tiles_with_provenance_and_a_manifest_and_tells_the_support(answer, tmp_path):
    told = answer("generate", *LUNG, *FAST, "--num", 3, "--seed", 7, "--guide", "center=2", "--out", "out")
    frame = read_manifest(told["manifest"])
    assert [tile["seed"] for tile in told["tiles"]] == [7, 8, 9]
    assert told["support"] == "rare (2 tiles, 1 patient)"
    assert frame["path"].tolist() == [str(tmp_path / "out" / tile["file"]) for tile in told["tiles"]]
    for path, tile in zip(frame["path"], told["tiles"], strict=True):
        facts = read_provenance(Path(path).read_bytes())
        assert (facts["checkpoint"], facts["seed"]) == (told["checkpoint"], tile["seed"])
        assert facts["metadata"] == {"cancer_type": "Lung_adenocarcinoma", "center": "Lyon"}
        assert facts["attribute_guidance"] == {"center": 2.0}
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == (32, 32, 3)
        measured = [float("nan") if tile[name] is None else tile[name] for name in ("hematoxylin", "eosin")]
        assert np.array_equal(measured, stain_strengths(pixels), equal_nan=True)


def test_compare_writes_each_combination_and_one_sheet(answer, tmp_path):
    vary = ("--vary", "center", "Rome", "Lyon", "--vary", "eosin", 1, 5)
    told = answer("compare", "--cancer-type", "Lung_adenocarcinoma", *vary, *FAST, "--seed", 7, "--out", "out")
    lung = {"cancer_type": "Lung_adenocarcinoma"}
    centers = [{"center": center, "eosin": eosin} for eosin in "15" for center in ("Rome", "Lyon")]
    assert [cell["metadata"] for cell in told["cells"]] == [lung | center for center in centers]
    assert told["cells"][1]["support"] == "rare (2 tiles, 1 patient)"
    frame = read_manifest(told["manifest"])
    assert set(frame["path"]) == {str(tmp_path / "out" / file) for cell in told["cells"] for file in cell["files"]}
    assert set(frame["seed"]) == {"7"}
    assert read_provenance((tmp_path / told["sheet"]).read_bytes())["rows"] == {"eosin": ["1", "5"]}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--vary", "center"), "choose at least one value"),
        (("--vary", "center", "Rome", "--vary", "center", "Lyon"), "--vary center is given twice"),
        (("--vary", "center", "Rome", "--center", "Lyon"), "center is held at one value and varied, too"),
        (("--vary", "center", "Roma"), "did you mean 'Rome'"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused_and_leaves_nothing(refusal, tmp_path, flags, message):
    assert message in refusal("compare", *flags, *FAST, "--out", "out")
    assert not (tmp_path / "out").exists()


def test_trust_needs_a_pair_and_a_reference_set(refusal):
    assert "given: center Lyon. Name both" in refusal("trust", "--center", "Lyon")
    assert "there is no reference set" in refusal("trust", *LUNG)


def test_a_few_step_checkpoint_has_steps_and_guidance_of_its_own(answer, tiny_checkpoint, cli):
    (tiny_checkpoint / "training_config.json").write_text(json.dumps(DISTILLED))
    small = ("--side-px", 32, "--num", 1, "--seed", 7)
    for flags, steps, guidance in (((), FEW_STEPS, 1.0), (("--steps", 3, "--guidance", 1.5), 3, 1.5)):
        told = answer("generate", *LUNG, *small, *flags, "--out", "out")
        path = Path(told["manifest"]).parent / told["tiles"][0]["file"]
        facts = read_provenance(path.read_bytes())
        assert (facts["num_inference_steps"], facts["guidance_scale"]) == (steps, guidance)
    assert answer("info")["distillation"]["teacher"] == TEACHER
    assert f"few-step: {FEW_STEPS} steps, distilled from {TEACHER}" in cli("info")[1]


def test_generate_for_people_prints_the_support_and_the_manifest(cli):
    code, out, err = cli("generate", *LUNG, *FAST, "--num", 1, "--out", "out")
    assert (code, err) == (0, "")
    assert "support: rare (2 tiles, 1 patient)" in out
    assert "manifest: out/manifest.csv" in out


def test_the_same_seeds_give_the_same_files_and_others_are_added(answer, tmp_path):
    first = answer("generate", *LUNG, *FAST, "--num", 2, "--out", "one")
    second = answer("generate", *LUNG, *FAST, "--num", 2, "--out", "two")
    assert first["tiles"] == second["tiles"]
    for tile in first["tiles"]:
        assert (tmp_path / "one" / tile["file"]).read_bytes() == (tmp_path / "two" / tile["file"]).read_bytes()
    answer("generate", *LUNG, *FAST, "--num", 2, "--seed", 1, "--out", "one")
    assert read_manifest("one/manifest.csv")["seed"].tolist() == ["0", "1", "2"]


def test_rerender_measures_before_and_after_and_writes_one_tile(answer, image):
    told = answer("rerender", "--image", image, "--center", "Rome", "--strength", 0.3, "--steps", 2, "--out", "out")
    row = read_manifest(told["manifest"]).iloc[0]
    pixels = np.asarray(Image.open(row["path"]))
    assert pixels.shape == (64, 64, 3)
    facts = read_provenance(Path(row["path"]).read_bytes())
    assert (facts["strength"], facts["metadata"]) == (0.3, {"center": "Rome"})
    before = stain_strengths(np.asarray(Image.open(image))[5:69, 5:69])
    assert (told["before"]["hematoxylin"], told["before"]["eosin"]) == before
    assert len(told["tiles"]) == 1


def test_build_welcome_fills_the_assets_folder_for_this_checkpoint(answer, tiny_pipeline, tmp_path, monkeypatch):
    sample = type(tiny_pipeline).__call__
    small = {"num_inference_steps": 1, "height_px": 32, "width_px": 32}
    monkeypatch.setattr(type(tiny_pipeline), "__call__", lambda *given, **named: sample(*given, **named | small))
    told = answer("build-welcome")
    assert told["written"] == [str(tmp_path / "assets" / "welcome" / f"welcome-{i}.png") for i in (1, 2, 3, 4)]
    checkpoints = {read_provenance(Path(path).read_bytes())["checkpoint"] for path in told["written"]}
    assert checkpoints == {answer("info")["checkpoint"]}


# --------------------------------------------------------------------------- data


def test_data_check_counts_what_is_in_a_manifest(answer, toy_manifest):
    told = answer("data", "check", toy_manifest)
    assert (told["rows"], told["images"], told["patients"]) == (24, 24, 12)
    assert told["split"] == {"train": 16, "val": 4, "test": 4}
    assert told["center"] == {"Lyon": 8, "Paris": 8, "Rome": 8}


def test_data_check_names_every_fault_in_one_line(refusal, toy_manifest):
    frame = pd.read_csv(toy_manifest)
    frame.assign(path="none.png", mpp="fine").to_csv(toy_manifest, index=False)
    message = refusal("data", "check", toy_manifest, "--json")
    assert "mpp must be a number" in message
    assert "file not found, rows 1, 2" in message


def test_data_import_brings_any_table_into_a_manifest(answer, toy_manifest, tmp_path):
    theirs = pd.read_csv(toy_manifest).rename(columns={"path": "file", "center": "hospital"}).drop(columns="split")
    theirs.assign(notes="x").to_csv("theirs.csv", index=False)
    told = answer("data", "import", "table", "theirs.csv", "--map", "file=path", "hospital=center", "--out", "ours.csv")
    assert told["dropped_columns"] == ["notes"]
    assert told["rows"] == 24
    assert set(told["split"]) == {"train", "val", "test"}
    assert read_manifest("ours.csv")["center"].tolist() == theirs["hospital"].tolist()


def test_data_import_joins_a_second_table(answer, toy_manifest):
    whole = pd.read_csv(toy_manifest)
    whole[["path", "slide"]].to_csv("tiles.csv", index=False)
    whole.drop(columns="path").drop_duplicates("slide").to_csv("slides.csv", index=False)
    answer("data", "import", "table", "tiles.csv", "--join", "slides.csv:slide", "--out", "ours.csv")
    assert read_manifest("ours.csv")["age"].tolist() == whole["age"].tolist()


def test_data_import_reads_a_tcga_ut_folder(answer, tmp_path):
    slide = "TCGA-18-5592-01Z-00-DX1"
    for level in "01":
        tile = tmp_path / "ut" / "Lung_squamous_cell_carcinoma" / level / slide / "0_0.jpg"
        tile.parent.mkdir(parents=True)
        Image.fromarray(synthetic_tissue(32, 1)).save(tile)
    told = answer("data", "import", "tcga-ut", "ut", "--out", "ours.csv")
    assert (told["rows"], told["patients"]) == (1, 1)
    assert told["center"] == {"Princess Margaret Hospital (Canada)": 1}
    assert read_manifest("ours.csv")["mpp"].tolist() == [0.5]


def write_tar(name: str, members: dict[str, bytes]) -> None:
    with tarfile.open(name, "w") as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_data_import_unpacks_webdatasets(answer, tmp_path):
    for name, center in (("a", "Lyon"), ("b", "Rome")):
        label = json.dumps({"center": center}).encode()
        write_tar(f"{name}.tar", {f"{name}-0.png": encode_png(synthetic_tissue(32, 1), {}), f"{name}-0.json": label})
    told = answer("data", "import", "webdataset", "a.tar", "b.tar", "--out", "ours.csv")
    assert told["center"] == {"Lyon": 1, "Rome": 1}
    assert all(Path(path).is_relative_to(tmp_path / "ours-tiles") for path in read_manifest("ours.csv")["path"])


def test_class_numbers_and_columns_of_every_tile_are_said_on_the_command_line(answer):
    write_tar("a.tar", {"0.png": encode_png(synthetic_tissue(32, 1), {}), "0.cls": b"1"})
    classes = ("--class-names", "Breast_benign,Lung_adenocarcinoma")
    answer(
        *("data", "import", "webdataset", "a.tar", "--out", "ours.csv"),
        *(*classes, "--default", "center=Lyon", "mpp=0.5"),
    )
    (row,) = read_manifest("ours.csv").to_dict("records")
    assert (row["cancer_type"], row["center"], row["mpp"]) == ("Lung_adenocarcinoma", "Lyon", 0.5)


def test_windows_and_the_guidance_interval_are_said_and_kept_in_the_provenance(answer, refusal):
    flags = ("--window-px", "32", "--guidance-interval", "0.2", "0.9")
    told = answer("generate", *LUNG, "--num", 1, "--steps", 2, "--side-px", "64", *flags, "--out", "tiles")
    provenance = read_provenance(Path("tiles", told["tiles"][0]["file"]).read_bytes())
    assert (provenance["window_px"], provenance["guidance_interval"]) == (32, [0.2, 0.9])
    wrong = ("--guidance-interval", "0.9", "0.2")
    assert "low end must not be above" in refusal("generate", *LUNG, *FAST, *wrong, "--out", "tiles")


# ----------------------------------------------------------------------- training


def test_a_checkpoint_that_was_trained_can_be_generated_from(answer, toy_manifest, monkeypatch):
    monkeypatch.setattr("medi_core.training.run.write_sample_grid", lambda *_: None)  # takes longer than all the rest
    frame = read_manifest(toy_manifest)
    frame[frame["split"] == "train"].to_csv(toy_manifest, index=False)  # no validation, for the same reason
    try:
        told = answer(
            *("train-diffusion", "--manifest", toy_manifest, "--out", "run", "--widths", "32,96", "--num-steps", 2),
            *("--global-batch", 2, "--precision", "no", "--workers", 0, "--attributes", "center,eosin"),
        )
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps its settings for ever
    assert told == {"step": 2, "checkpoint": "run/checkpoint"}
    assert answer("info", "--checkpoint", "run/checkpoint")["attributes"] == ["center", "eosin"]
    made = answer("generate", "--checkpoint", "run/checkpoint", "--center", "Lyon", *FAST, "--num", 1, "--out", "out")
    assert made["checkpoint"].startswith("checkpoint@")
    assert made["support"].startswith("seen")


# ----------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--center", "Pariss"), "center='Pariss' is not in this checkpoint's vocabulary; did you mean 'Paris'?"),
        (("--scanner", "Aperio AT2"), "not conditioned on 'scanner'"),
        (("--eosin", "9"), "eosin='9' is not in"),
        (("--checkpoint", "big"), "checkpoint 'big' was not found"),
        (("--device", "tpu"), "device 'tpu' is not available"),
        (("--dtype", "int4"), "dtype 'int4' is unknown"),
        (("--num", "0"), "--num 0: it must be from 1 to 10,000"),
        (("--num", "-5"), "--num -5: it must be from 1 to 10,000"),
        (("--num", "9" * 30), "it must be from 1 to 10,000"),
        (("--seed", "-1"), "seed = -1: it must be a whole number from 0"),
        (("--seed", "9" * 30), "it must be a whole number from 0"),
        (("--side-px", "100"), "side in px = 100: it must be a multiple of 32"),
        (("--side-px", "-32"), "side in px = -32"),
        (("--steps", "0"), "steps = 0: it must be a whole number from 1 to 200"),
        (("--guidance", "nan"), "guidance = nan: it must be from 0 to 10"),
        (("--guide", "center=much"), "--guide center=much: write ATTRIBUTE=SCALE, e.g. center=2"),
        (("--guide", "center"), "'center': write NAME=VALUE"),
        (("--guide", "center=2", "center=3"), "center=2 center=3: give each name once"),
        (("--guide", "centre=2"), "guidance for 'centre': this checkpoint knows"),
        (("--guide", "center=inf"), "guidance of center = inf"),
    ],
)
def test_generate_refuses_what_cannot_be_before_it_makes_anything(refusal, tmp_path, arguments, message):
    assert message in refusal("generate", *FAST, "--num", 1, "--out", "out", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/below"])
def test_an_out_folder_that_cannot_be_written_is_named(refusal, tmp_path, out):
    (tmp_path / "file").touch()
    assert f"could not write {out}" in refusal("generate", *FAST, "--num", 1, "--out", out, "--json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "--image none.png does not exist"),
        ("text.png", b"text", "not a readable image"),
        ("white.png", encode_png(np.full((64, 64, 3), 255, np.uint8), {}), "tissue covers 0.0% of the image"),
        ("small.png", encode_png(synthetic_tissue(10, 1), {}), "10×10 px"),
    ],
)
def test_rerender_refuses_what_is_no_tile(refusal, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in refusal("rerender", "--image", name, "--out", "out")


def test_remarks_of_libraries_do_not_reach_the_user(refusal, tmp_path):
    png = bytearray(encode_png(synthetic_tissue(32, 1), {}))
    png[16:24] = struct.pack(">II", 12_000, 10_000)  # Pillow warns of such sizes
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    (tmp_path / "huge.png").write_bytes(png)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert "more pixels than 4096×4096" in refusal("rerender", "--image", "huge.png", "--out", "out")
    assert caught == []


def test_rerender_refuses_a_strength_outside_its_range(refusal, image):
    assert "strength = 0.0: it must be from 0.01 to 1" in refusal(
        "rerender", "--image", image, "--out", "out", "--strength", 0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "check", "none.csv"), "none.csv does not exist"),
        (("data", "import", "table", "none.csv", "--out", "ours.csv"), "none.csv does not exist"),
        (("data", "import", "table", "a.csv", "b.csv", "--out", "ours.csv"), "table takes one source, given 2"),
        (("data", "import", "table", "a.csv", "--join", "b.csv", "--out", "ours.csv"), "write TABLE:COLUMN"),
        (("data", "import", "table", "a.csv", "--map", "file", "--out", "ours.csv"), "'file': write NAME=VALUE"),
        (("data", "import", "tcga-ut", "none", "--out", "ours.csv"), "none is not a folder"),
        (("data", "import", "webdataset", "none.tar", "--out", "ours.csv"), "none.tar cannot be read"),
        (("train-diffusion", "--manifest", "none.csv", "--out", "run"), "none.csv does not exist"),
        (("train-diffusion", "--manifest", "a.csv", "--out", "run", "--widths", "32,40"), "must divide"),
        (("train-diffusion", "--manifest", "a.csv", "--out", "run", "--attributes", "smell"), "given smell"),
        (("train-diffusion", "--manifest", "a.csv", "--out", "run", "--workers", "-1"), "--workers -1: it must be 0"),
        (("train-diffusion", "--manifest", "a.csv", "--out", "run", "--num-steps", "0"), "num_steps must be above 0"),
    ],
)
def test_data_and_training_refuse_what_is_not_there_or_makes_no_sense(refusal, arguments, message):
    try:
        assert message in refusal(*arguments)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "arguments are required"),
        (("dream",), "invalid choice: 'dream'"),
        (("generate",), "arguments are required: --out"),
        (("generate", "--out", "out", "--num", "many"), "invalid int value: 'many'"),
        (("train-diffusion", "--manifest", "a", "--out", "b", "--widths", "32,x"), "invalid widths value: '32,x'"),
        (("train-diffusion", "--manifest", "a", "--out", "b", "--widths", "0"), "invalid widths value: '0'"),
    ],
)
def test_a_command_that_cannot_be_parsed_is_answered_in_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


# --------------------------------------------------------------------- as a process


def test_help_needs_no_heavy_library_and_little_time():
    script = (
        "import sys, medi_core.cli as cli\n"
        "try: cli.main(['generate', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'PIL', 'diffusers', 'gradio') if name in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--num NUM" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "[]"
    # of the processor, not of the clock: other processes may be at work
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_the_module_runs_as_a_program_and_exits_with_the_code_of_main():
    command = [sys.executable, "-m", "medi_core", "data", "check", "none.csv"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "error: manifest none.csv does not exist\n"


def test_a_reader_who_leaves_early_gets_no_traceback(toy_manifest):
    reader, writer = os.pipe()
    os.close(reader)  # as `… | true`
    try:
        command = [sys.executable, "-m", "medi_core", "data", "check", str(toy_manifest)]
        shown = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (shown.returncode, shown.stderr) == (0, "")
