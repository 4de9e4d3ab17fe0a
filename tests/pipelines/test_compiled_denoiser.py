"""The compiled denoiser gives what the denoiser gives, and gives up once where it cannot be compiled.

No GPU is needed, and none is tested: the compiler is a fake here, but for the last test.
"""

import logging

import pytest
import torch

from medi_core.checkpoints import save_checkpoint
from medi_core.pipelines.compiled_denoiser import CompiledDenoiser, warm_up_rows
from medi_core.pipelines.row_batcher import predict_micro_batch
from medi_core.services.generation import GenerationService
from tests.services.test_generation import build_service, images, request  # noqa: F401  a fixture


class Compiler:
    """In the place of `torch.compile`: notes how it is called, and compiles to whatever it is told to."""

    def __init__(self, result=None) -> None:
        self.result, self.asked, self.num_calls = result, [], 0

    def __call__(self, denoiser, **options):
        self.asked.append(options)

        def compiled(*rows):
            self.num_calls += 1
            return self.result() if self.result else denoiser(*rows)

        return compiled


@pytest.fixture
def compiler(monkeypatch) -> Compiler:
    fake = Compiler()
    monkeypatch.setattr(torch, "compile", fake)
    return fake


def rows_of(denoiser, side: int = 128) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _, timesteps, conditioning = warm_up_rows(denoiser, 4)
    return torch.randn(4, 3, side, side), timesteps, torch.randn_like(conditioning)


def test_only_the_shape_of_the_training_is_compiled(tiny_pipeline, compiler):
    denoiser = tiny_pipeline.denoiser
    compiled = CompiledDenoiser(denoiser)
    for side, num_calls in ((128, 1), (64, 1), (128, 2)):
        rows = rows_of(denoiser, side)
        with torch.inference_mode():
            assert torch.equal(compiled(*rows), denoiser(*rows))
        assert compiler.num_calls == num_calls
    assert compiler.asked == [{"mode": "default", "dynamic": False}]


def test_on_cuda_it_is_a_cuda_graph(compiler):
    on_cuda = type("OnCuda", (), {"device": torch.device("cuda:0"), "dtype": torch.bfloat16})()
    assert CompiledDenoiser(on_cuda).dtype is torch.bfloat16
    assert compiler.asked == [{"mode": "reduce-overhead", "dynamic": False}]


@pytest.mark.parametrize("error", [RuntimeError("no C++ compiler\nand a long story"), AssertionError()])
def test_where_it_cannot_be_compiled_it_runs_all_the_same_and_the_log_says_so_once(
    tiny_pipeline, compiler, caplog, error
):
    def fail():
        raise error

    compiler.result = fail
    compiled, rows = CompiledDenoiser(tiny_pipeline.denoiser), rows_of(tiny_pipeline.denoiser)
    with torch.inference_mode(), caplog.at_level(logging.WARNING, "medi"):
        for _ in range(3):
            assert torch.equal(compiled(*rows), tiny_pipeline.denoiser(*rows))
    assert compiler.num_calls == 1
    (message,) = caplog.messages
    assert message in (
        "denoiser not compiled, and slower: no C++ compiler",
        "denoiser not compiled, and slower: AssertionError",
    )


def test_what_fails_without_the_compiler_too_is_raised_and_it_stays_compiled(tiny_pipeline, compiler, caplog):
    compiled, (x_t, timesteps, _) = CompiledDenoiser(tiny_pipeline.denoiser), rows_of(tiny_pipeline.denoiser)
    with pytest.raises((RuntimeError, ValueError)):
        compiled(x_t, timesteps, torch.zeros(4, 3))
    assert caplog.messages == []
    compiled(*rows_of(tiny_pipeline.denoiser))
    assert compiler.num_calls == 2


def test_a_result_survives_the_next_forward_which_a_cuda_graph_writes_over_it(tiny_pipeline, compiler):
    memory = torch.zeros(4, 3, 128, 128)
    compiler.result = lambda: memory.add_(1)
    compiled, rows = CompiledDenoiser(tiny_pipeline.denoiser), rows_of(tiny_pipeline.denoiser)
    first = predict_micro_batch(compiled, *rows)
    second = predict_micro_batch(compiled, *rows)
    assert (first.unique(), second.unique()) == (1, 2)


def test_ids_tiles_and_saved_weights_are_those_without(build_service, tiny_pipeline, compiler, tmp_path):  # noqa: F811
    plain = build_service()
    save_checkpoint(tiny_pipeline, tmp_path / "plain", {})
    wanted = request(1, 2, side_px=(128, 128))
    expected = plain.generate(wanted)
    service = GenerationService(plain.checkpoint, 4, is_compiled=True)
    made = service.generate(wanted)
    assert compiler.num_calls > 2, "it was not used"
    assert [tile.id for tile in made] == [tile.id for tile in expected]
    assert (images(made) == images(expected)).all()
    save_checkpoint(tiny_pipeline, tmp_path / "compiled", {})
    for path in (tmp_path / "plain").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "compiled" / path.relative_to(tmp_path / "plain")).read_bytes()
    service.stop()


@pytest.mark.slow
def test_the_real_compiler_gives_the_same_tiles_up_to_rounding(tiny_pipeline):
    compiled, rows = CompiledDenoiser(tiny_pipeline.denoiser), rows_of(tiny_pipeline.denoiser)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(*rows), tiny_pipeline.denoiser(*rows), atol=1e-3, rtol=0)
    assert compiled._compiled is not None, "it was not compiled"
