"""A student is trained on what it will be used on, resumes exactly, and says whose student it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medi_core.checkpoints import load_checkpoint
from medi_core.cli import main
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.models.tile_discriminator import TileDiscriminator
from medi_core.models.tile_encoder import StageFeatures
from medi_core.pipelines.medi_pipeline import seeded_noise
from medi_core.pipelines.schedulers import build_scheduler, set_noise_levels
from medi_core.training import distillation_run
from medi_core.training.distill import (
    Distillation,
    DistillationConfig,
    energy_score,
    student_config,
    told_apart,
)
from medi_core.training.distillation_batch import plain_comparisons, recombined, recombined_comparisons, twice
from medi_core.training.distillation_run import run_distillation
from medi_core.training.run import load_dataset, run_training

CONFIG = DistillationConfig(
    num_steps=4,
    global_batch=8,
    penalty_every=2,
    learning_rate=1e-3,
    discriminator_network="efficientnet-lite0",
)


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch):
    draw = distillation_run.write_sample_grid
    monkeypatch.setattr(distillation_run, "write_sample_grid", lambda *a, **k: draw(*a, **k, columns=2, rows=2))


@pytest.fixture
def teacher_folder(toy_manifest, tmp_path, tiny_config):
    """A checkpoint that was trained, for two steps, on the toy manifest."""
    run_training(toy_manifest, tmp_path / "teacher", replace(tiny_config, num_steps=2), mixed_precision="no")
    return tmp_path / "teacher" / "checkpoint"


@pytest.fixture
def start(teacher_folder, toy_manifest):
    """A distillation of it under a configuration."""
    teacher = load_checkpoint(str(teacher_folder), teacher_folder, torch.device("cpu"), torch.float32)

    def build(config: DistillationConfig = CONFIG) -> Distillation:
        dataset = load_dataset(read_manifest(toy_manifest), "train", student_config(teacher, config))
        return Distillation(teacher, dataset, config, "no")

    return build


def distil(manifest, teacher_folder, out, config=CONFIG, **arguments) -> int:
    return run_distillation(
        manifest, str(teacher_folder), teacher_folder.parent, out, config, mixed_precision="no", **arguments
    )


@pytest.mark.parametrize(("num", "recombine", "own"), [(1, True, 6), (2, True, 6), (2, False, 4), (4, True, 6)])
def test_the_students_own_part_of_a_batch_is_where_the_pipeline_will_be(start, num, recombine, own):
    distillation = start(replace(CONFIG, num_inference_steps=num, recombine=recombine))
    tiles, ids = next(distillation.training.batches())
    tiles = tiles.float() / 127.5 - 1
    side = tiles.shape[-1]
    eps = torch.stack([seeded_noise(seed, side, side) for seed in range(8)])
    visited = {}

    def keep(done: int, clean: torch.Tensor) -> None:
        visited[done] = clean

    pipeline = distillation.initial.pipeline  # the student has not moved yet
    pipeline(ids[:own], range(own), num, height_px=side, width_px=side, on_step=keep)
    scheduler = build_scheduler("euler")
    set_noise_levels(scheduler, 1.0, num, torch.device("cpu"))
    seen_levels = set()
    for seed in range(12):
        x_t, sigmas = distillation._noisy(tiles, ids, eps, torch.Generator().manual_seed(seed))
        done = round((1 - float(sigmas[0])) * num)
        seen_levels.add(done)
        sigma = float(scheduler.timesteps[done]) / NUM_TRAIN_TIMESTEPS
        assert torch.allclose(sigmas[:own], torch.full((own,), sigma), atol=1e-5)
        if done == 0:
            assert torch.equal(x_t[:own], eps[:own])
        else:  # what the student will have made of the same noise by then
            before = float(scheduler.timesteps[done - 1]) / NUM_TRAIN_TIMESTEPS
            if done == 1:
                expected = visited[1] + sigma / before * (eps[:own] - visited[1])
                assert torch.allclose(x_t[:own], expected, atol=1e-3)
        level = sigmas[own:, None, None, None]
        assert torch.allclose(x_t[own:], (1 - level) * tiles[own:] + level * eps[own:], atol=1e-6)
    assert seen_levels == set(range(num)), "each of the student's levels is trained"


def test_the_discriminator_learns_to_tell_and_sees_the_condition(start):
    distillation = start(replace(CONFIG, num_steps=30, global_batch=8, adversarial_weight=1e-9, learning_rate=1e-9))
    losses = [step.discriminator_loss for step in distillation.steps()]  # the student does not move
    assert np.mean(losses[-5:]) < 0.5 < np.mean(losses[:2]), "ln 2 before, clearly less after"
    real = torch.rand(2, 3, 32, 32) * 2 - 1
    null = distillation.training.null_ids.expand(2, -1)
    both = torch.stack([null, torch.zeros_like(null)], dim=1)
    judge = distillation.discriminator
    for scale, alone in zip(judge(real, both), judge(real[:1], both[:1, :1]), strict=True):
        assert not torch.allclose(scale[:, 0], scale[:, 1])
        assert torch.allclose(scale[:1, :1], alone, atol=1e-4), "company does not matter"


def test_other_metadata_are_those_of_the_tile_beside_it_in_one_attribute():
    ids = torch.arange(40).reshape(8, 5)
    others = Distillation._with_others(ids)
    for column in range(5):
        expected = ids.clone()
        expected[:, column] = ids[:, column].roll(1)
        assert torch.equal(others[:, column], expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_discriminator_tells_a_real_tile_from_itself_under_other_metadata(start, weight):
    still = {"adversarial_weight": 1e-9, "learning_rate": 1e-9, "discriminator_learning_rate": 2e-3, "recombine": False}
    distillation = start(replace(CONFIG, num_steps=150, global_batch=16, mismatch_weight=weight, **still))
    losses = [step.mismatch_loss for step in distillation.steps()]
    dataset = distillation.training.dataset
    tiles, ids = (torch.stack(parts) for parts in zip(*[dataset[i] for i in range(10_000, 10_064)], strict=True))
    stain = dataset.vocabulary.attributes.index("hematoxylin")  # a toy tile shows it
    other = distillation._with_others(ids)[:, stain]
    is_other = (other != ids).any(dim=1)
    with torch.no_grad():
        asked = torch.stack([ids, other], dim=1)[is_other]
        scales = distillation.discriminator(tiles[is_other].float() / 127.5 - 1, asked)
    is_right = sum((scale[:, 0] - scale[:, 1]).mean(dim=1) for scale in scales) > 0
    if weight:
        assert is_right.float().mean() > 0.7
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.03
    else:
        assert is_right.float().mean() < 0.7
        assert np.mean(losses[-10:]) > np.mean(losses[:10]) - 0.03


def test_the_students_loss_moves_the_student_and_not_the_discriminator(start):
    distillation = start(replace(CONFIG, discriminator_learning_rate=1e-30))
    judge = {name: p.clone() for name, p in distillation.discriminator.named_parameters()}
    student = {name: p.clone() for name, p in distillation.training.model.named_parameters()}
    next(distillation.steps())
    assert all(torch.equal(p, judge[name]) for name, p in distillation.discriminator.named_parameters())
    assert any(not torch.equal(p, student[name]) for name, p in distillation.training.model.named_parameters())


def test_the_anchor_is_blind_to_detail_finer_than_its_pool(start):
    distillation = start()
    real = torch.zeros(8, 3, 32, 32)
    checkerboard = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    sigmas = torch.full((8,), 0.5)
    assert distillation._anchor(real + 0.3 * checkerboard, real, sigmas) < 1e-10
    assert distillation._anchor(real + 0.3, real, sigmas) == pytest.approx(0.3**2 / 0.5**2)


def test_each_scale_counts_alike():
    many, few = torch.full((1, 4096), 50.0), torch.full((1, 4), 50.0)
    assert told_apart([many, few], [many - 100, few - 100]) < 1e-6
    assert told_apart([many, few - 100], [many - 100, few]) == pytest.approx(50)
    assert told_apart([many - 100, few], [many, few - 100]) == pytest.approx(50)


def test_the_students_own_attempts_come_in_pairs_of_the_same_metadata():
    batch = torch.arange(12)
    assert twice(batch).tolist() == [0, 1, 2, 0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_recombined_metadata_are_judged_by_the_cancer_type_and_by_all_else(start):
    distillation = start(replace(CONFIG, global_batch=12))
    ids = 1000 + torch.arange(60).reshape(12, 5)  # none is a null id
    asked = recombined(ids)
    assert torch.equal(asked[[*range(6), *range(9, 12)]], ids[[*range(6), *range(9, 12)]])
    assert torch.equal(asked[6:9, 0], ids[6:9, 0])
    assert torch.equal(asked[6:9, 1:], ids[[8, 6, 7], 1:])
    null = distillation.training.null_ids
    real_rows, rows, judged = recombined_comparisons(ids, null)
    is_asked = judged != null
    assert torch.equal(judged[is_asked], ids[real_rows][is_asked]), "true of the real tile"
    assert torch.equal(judged[is_asked], asked[rows][is_asked]), "and asked of the student's"
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9, 10, 11]
    assert is_asked[6:9].tolist() == [[True] + [False] * 4] * 3
    assert is_asked[9:12].tolist() == [[False] + [True] * 4] * 3
    assert is_asked[[*range(6), *range(12, 15)]].all()
    assert [part.tolist() for part in plain_comparisons(ids)] == [[*range(12)], [*range(12)], ids.tolist()]


def test_the_energy_score_is_least_where_the_draws_are_distributed_as_the_observed():
    generator = torch.Generator().manual_seed(0)
    one, other, real = torch.randn(3, 50_000, 1, generator=generator)
    scores = {
        (shift, scale): float(energy_score(shift + scale * one, shift + scale * other, real))
        for shift in (-0.5, 0.0, 0.5)
        for scale in (0.0, 0.5, 1.0, 2.0)
    }
    assert min(scores, key=scores.get) == (0.0, 1.0)
    own = torch.zeros(4, 3, requires_grad=True)
    energy_score(own, own, torch.ones(4, 3)).backward()
    assert own.grad.isfinite().all(), "two tiles alike have no distance, and a root's slope is infinite there"
    close, apart = torch.tensor([[0.1]], requires_grad=True), torch.tensor([[-0.1]])
    observed = torch.tensor([[-5.0], [5.0]])
    energy_score(close.expand(2, 1), apart.expand(2, 1), observed).backward()
    assert close.grad < 0, "a step down its slope takes it away from the other"


def test_a_step_makes_pairs_and_recombined_tiles_and_compares_what_belongs_together(start, monkeypatch):
    distillation = start()
    drawn, made, judged = [], [], []
    batches, clean, judge = distillation.training.batches, distillation._clean, distillation._judge

    def keep_batches():
        for tiles, ids in batches():
            drawn.append(ids)
            yield tiles, ids

    monkeypatch.setattr(distillation.training, "batches", keep_batches)
    monkeypatch.setattr(distillation, "_clean", lambda *a: made.append(a) or clean(*a))
    monkeypatch.setattr(distillation, "_judge", lambda stages, ids: judged.append((stages, ids)) or judge(stages, ids))
    next(distillation.steps())
    x_t, _, requested = made[-1]
    null = distillation.training.null_ids
    ids = twice(drawn[0])
    is_kept = requested != null
    assert torch.equal(requested[is_kept], recombined(ids)[is_kept]), "but for what was dropped"
    assert is_kept.any(dim=1).sum() > 3
    assert torch.equal(requested[:2], requested[2:4])
    assert not torch.equal(x_t[:2], x_t[2:4]), "each of a pair from its own noise"
    stages, asked = judged[-1]
    assert len(asked) == len(stages[0]) == 10
    assert torch.equal(stages[0][4:6], stages[0][6:8]), "a recombined tile is compared twice"
    assert not torch.equal(stages[0][:2], stages[0][2:4])
    assert torch.equal(asked[:4, 0], requested[:4])
    assert torch.equal(asked[4:6, 0, 0], requested[4:6, 0])
    assert torch.equal(asked[6:8, 0, 1:], requested[4:6, 1:])


def test_the_variety_weight_brings_the_energy_score_of_the_students_tiles_down(start):
    def last(weight: float) -> float:
        config = replace(CONFIG, num_steps=60, global_batch=16, adversarial_weight=1e-9, recombine=False)
        config = replace(config, variety_weight=weight)
        return np.mean([step.variety_loss for step in start(config).steps()][-10:])

    assert last(1.0) < 0.93 * last(0.0)


def test_the_students_training_leaves_attributes_open_as_configured(teacher_folder, tmp_path):
    teacher = load_checkpoint(str(teacher_folder), tmp_path, torch.device("cpu"), torch.float32)
    assert student_config(teacher, replace(CONFIG, drop_tail=0.25)).objective.drop_tail == 0.25


def test_two_runs_that_add_up_equal_one(toy_manifest, teacher_folder, tmp_path):
    assert distil(toy_manifest, teacher_folder, tmp_path / "one") == 4
    distil(toy_manifest, teacher_folder, tmp_path / "two", replace(CONFIG, num_steps=2))
    distil(toy_manifest, teacher_folder, tmp_path / "two")
    one, two = (load_file(tmp_path / name / "state" / "state.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert any(name.startswith("adversary.moment.exp_avg_sq") for name in one)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_moments_come_back_where_and_as_the_parameters_lie(start):
    before, after = start(), start()
    next(before.steps())
    after.load_adversary({name: tensor.contiguous() for name, tensor in before.adversary().items()})  # as saved
    for parameter in after.discriminator.parameters():
        state = after.optimizer.state[parameter]
        assert {state[key].stride() for key in ("exp_avg", "exp_avg_sq")} == {parameter.stride()}
    assert all(torch.equal(after.adversary()[name], tensor) for name, tensor in before.adversary().items())


def test_a_student_of_another_teacher_is_not_gone_on_with(toy_manifest, teacher_folder, tmp_path):
    distil(toy_manifest, teacher_folder, tmp_path / "run", replace(CONFIG, num_steps=1))
    state = tmp_path / "run" / "state" / "progress.json"
    progress = json.loads(state.read_text())
    state.write_text(json.dumps(progress | {"initial_checkpoint": "teacher@000000000000"}))
    with pytest.raises(CheckpointError, match="a student of teacher@000000000000, not of checkpoint@"):
        distil(toy_manifest, teacher_folder, tmp_path / "run")
    state.write_text(json.dumps(progress | {"initial_checkpoint": None}))  # of before it was noted
    assert distil(toy_manifest, teacher_folder, tmp_path / "run", replace(CONFIG, num_steps=2)) == 2


def test_the_checkpoint_says_whose_student_it_is_and_makes_tiles(toy_manifest, teacher_folder, tmp_path):
    distil(toy_manifest, teacher_folder, tmp_path / "run")
    teacher, student = (
        load_checkpoint(str(folder), tmp_path, torch.device("cpu"), torch.float32)
        for folder in (teacher_folder, tmp_path / "run" / "checkpoint")
    )
    record = student.training_config["distillation"]
    assert (record["teacher"], record["num_inference_steps"]) == (teacher.id, CONFIG.num_inference_steps)
    assert record["tiles_seen"] == 32
    assert student.held_out_patients == teacher.held_out_patients
    assert f"distilled from {teacher.id}" in student.model_card
    assert student.vocabulary == teacher.vocabulary
    ids = torch.zeros(1, len(student.vocabulary.attributes), dtype=torch.int64)
    assert student.pipeline(ids, [0], 2, height_px=32, width_px=32).shape == (1, 32, 32, 3)
    header = (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    assert tuple(header.split(",")) == distillation_run.LOG_COLUMNS


def test_a_student_is_trained_on_and_keeps_its_teacher(toy_manifest, teacher_folder, tmp_path):
    distil(toy_manifest, teacher_folder, tmp_path / "first")
    student = tmp_path / "first" / "checkpoint"
    before = json.loads((student / "training_config.json").read_text())["distillation"]
    distil(toy_manifest, student, tmp_path / "second", replace(CONFIG, num_steps=5))
    distil(toy_manifest, student, tmp_path / "second", replace(CONFIG, num_steps=6))  # resumed
    after = json.loads((tmp_path / "second" / "checkpoint" / "training_config.json").read_text())["distillation"]
    assert after["teacher"] == before["teacher"]
    initial = load_checkpoint(str(student), tmp_path, torch.device("cpu"), torch.float32).id
    assert (after["initial_checkpoint"], after["previous"]) == (initial, before)
    assert initial != before["teacher"]
    assert (after["step"], after["tiles_seen"]) == (6, 48)
    assert before["minutes"] < after["minutes"] < before["minutes"] + 5
    with pytest.raises(CheckpointError, match=r"at step 4 .* nothing is left to train"):
        distil(toy_manifest, student, tmp_path / "third", replace(CONFIG, num_steps=4))


def test_a_student_begins_with_its_weights_and_the_command_with_its_denoising_steps(
    toy_manifest, teacher_folder, tmp_path, capsys
):
    distil(toy_manifest, teacher_folder, tmp_path / "first", replace(CONFIG, num_inference_steps=3, guidance_scale=1.5))
    folder = tmp_path / "first" / "checkpoint"
    student = load_checkpoint(str(folder), tmp_path, torch.device("cpu"), torch.float32)
    config = replace(CONFIG, num_steps=6)
    dataset = load_dataset(read_manifest(toy_manifest), "train", student_config(student, config))
    weights = Distillation(student, dataset, config, "no").training.model.denoiser.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in student.pipeline.denoiser.state_dict().items())
    flags = [*("--manifest", str(toy_manifest)), *("--checkpoint", str(folder)), *("--out", str(tmp_path / "second"))]
    flags += [*("--workers", "0"), *("--precision", "no"), *("--discriminator-network", "efficientnet-lite0")]
    assert main(["distill", *flags, *("--num-steps", "5"), *("--global-batch", "8"), "--json"]) == 0
    record = json.loads((tmp_path / "second" / "checkpoint" / "training_config.json").read_text())["distillation"]
    assert (record["num_inference_steps"], record["guidance_scale"]) == (3, 1.5)


def test_an_unknown_value_is_no_other_metadata(start, monkeypatch):
    """ "Unknown" is true of every tile: where own or other value is it, nothing is to be told apart."""
    distillation = start(replace(CONFIG, num_steps=1))
    tiles, ids = next(distillation.training.batches())
    null = distillation.training.null_ids.expand(len(ids), -1).clone()
    half = null.clone()
    half[::2] = ids[::2]  # each tile beside an unknown one
    real = tiles.float() / 127.5 - 1
    stages = [stage.detach() for stage in distillation._see(real)]
    generator = torch.Generator().manual_seed(0)
    for unknown in (null, half):
        (_, mismatch), _ = distillation._teach_discriminator(real, stages, stages, unknown, generator)
        assert mismatch == 0
    (_, mismatch), _ = distillation._teach_discriminator(real, stages, stages, ids, generator)
    assert mismatch > 0


def test_a_manifest_of_other_values_and_a_folder_of_another_training_are_refused(
    toy_manifest, teacher_folder, tmp_path
):
    other = toy_manifest.with_name("other.csv")
    other.write_text(toy_manifest.read_text().replace("Lyon", "Turin"))
    assert other.read_text() != toy_manifest.read_text()
    with pytest.raises(CheckpointError, match="Turin"):
        distil(other, teacher_folder, tmp_path / "run")
    with pytest.raises(CheckpointError, match="another command"):  # that of the teacher's own training
        distil(toy_manifest, teacher_folder, teacher_folder.parent, replace(CONFIG, num_steps=9))


def test_a_training_does_not_go_on_with_the_folder_of_a_distillation(toy_manifest, teacher_folder, tmp_path):
    distil(toy_manifest, teacher_folder, tmp_path / "run", replace(CONFIG, num_steps=1))
    config = student_config(load_checkpoint(str(teacher_folder), tmp_path, torch.device("cpu"), torch.float32), CONFIG)
    with pytest.raises(CheckpointError, match="another command"):
        run_training(toy_manifest, tmp_path / "run", replace(config, num_steps=9), mixed_precision="no")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_inference_steps", 5), ("num_inference_steps", 0), ("global_batch", 6), ("anchor_px", 0)),
        *(("drop_tail", 1.1), ("drop_tail", -0.1), ("variety_weight", -1.0), ("mismatch_weight", -1.0)),
        ("discriminator_network", "resnet"),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(InvalidRequestError, match=name):
        DistillationConfig(**{name: value})


def test_the_command(toy_manifest, teacher_folder, tmp_path, capsys):
    flags = [*("--checkpoint", str(teacher_folder)), *("--out", str(tmp_path / "run")), *("--num-steps", "1")]
    flags += [*("--workers", "0"), *("--precision", "no"), *("--discriminator-network", "efficientnet-lite0")]
    others = ["--variety-weight", "0.2", "--drop-tail", "0.3", "--no-recombine"]
    assert main(["distill", "--manifest", str(toy_manifest), *flags, "--global-batch", "8", *others, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 1
    record = json.loads((tmp_path / "run" / "checkpoint" / "training_config.json").read_text())["distillation"]
    used = record["configuration"]
    assert (used["variety_weight"], used["drop_tail"], used["recombine"]) == (0.2, 0.3, False)
    assert main(["distill", "--manifest", str(toy_manifest), *flags, "--global-batch", "4"]) == 2
    assert "global_batch must be a multiple of 4 and at least 8, given 4" in capsys.readouterr().err


def test_the_discriminators_eyes_are_frozen_and_see_gradients(toy_vocabulary):
    features = StageFeatures("efficientnet-lite0")
    judge = TileDiscriminator(toy_vocabulary.to_dict(), features).train()
    ids = torch.zeros(2, len(toy_vocabulary.attributes), dtype=torch.int64)
    tiles = torch.rand(2, 3, 64, 64, requires_grad=True)
    before = [tensor.clone() for tensor in features.state_dict().values()]
    logits = judge(tiles, ids[:, None])
    assert [scale.shape for scale in logits] == [(2, 1, side**2) for side in (32, 16, 8, 4, 2)]
    sum(scale.sum() for scale in logits).backward()
    assert tiles.grad.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, features.state_dict().values(), strict=True))
    assert not set(map(id, features.parameters())) & set(map(id, judge.parameters()))


def test_calibration_makes_real_channels_standard(toy_vocabulary):
    features = StageFeatures("efficientnet-lite0")
    judge = TileDiscriminator(toy_vocabulary.to_dict(), features)
    real = torch.rand(8, 3, 64, 64) * 2 - 1
    judge.calibrate(real)
    for standard in judge.see(real):
        assert standard.mean(dim=(0, 2, 3)).abs().max() < 1e-3
        assert standard.std(dim=(0, 2, 3)).max() == pytest.approx(1, abs=1e-2)
