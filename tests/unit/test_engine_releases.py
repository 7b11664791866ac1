"""How a release is read from its sources, and entered into the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.engine_releases import Facts, Unreadable, entered, facts_of, release_of, written

SOURCES = {
    "_version.py": "__version__: str\n__version__ = version = '0.40.1+cpu'\n",
    "model_executor/models/interfaces.py": (
        "class EagleModelMixin:\n    supports_aux_hidden_states_over_pp: ClassVar[bool] = False\n"
    ),
    "config/model.py": (
        "def _get_and_verify_max_len(kind):\n    if kind not in ('su', 'yarn'):\n        return factor\n"
        "_FLOAT16_NOT_SUPPORTED_MODELS = {'gemma2': 'Numerical instability.'}\n"
    ),
    "transformers_utils/configs/speculators/algos.py": (
        "@register_speculator('eagle3')\ndef update_eagle3(config, made):\n"
        "    eagle3_arch_map = {'qwen3': 'Eagle3Qwen3ForCausalLM', 'llama': 'Eagle3LlamaForCausalLM'}\n"
        "@register_speculator('peagle')\ndef update_peagle(config, made):\n"
        "    made['architectures'] = ['PeagleLlamaForCausalLM']\n"
        "@register_speculator('dflash')\ndef update_dflash(config, made):\n"
        "    made['architectures'] = ['DFlashDraftModel']\n"
    ),
    "config/speculative.py": (
        "MTPModelTypes = Literal['mtp']\nSpeculativeMethod = Literal['ngram', MTPModelTypes]\n"
        "DraftSampleMethod = Literal['greedy', 'probabilistic']\n"
        "class SpeculativeConfig:\n    method: SpeculativeMethod | None = None\n"
        "    draft_sample_method: DraftSampleMethod = 'greedy'\n    model: str | None = None\n"
        "    def hf_config_override(hf_config):\n        initial_architecture = hf_config.architectures[0]\n"
        "        if hf_config.model_type in ('mimo', 'ernie'):\n            hf_config.model_type = 'mtp'\n"
        "        elif initial_architecture == 'OmniForCausalLM':\n            hf_config = hf_config.text_config\n"
        "        elif initial_architecture == 'MistralForCausalLM':\n"
        "            hf_config.update({'architectures': ['EagleMistralForCausalLM']})\n"
        "    def create_draft_parallel_config(target_parallel_config):\n"
        "        return ParallelConfig(enable_expert_parallel=target_parallel_config.enable_expert_parallel)\n"
        "    def __post_init__(self):\n        vocabulary = self.target_model_config.hf_config.vocab_size\n"
    ),
    "config/vllm.py": (
        "class VllmConfig:\n    def _set_max_num_scheduled_tokens(self):\n"
        "        kept = self.speculative_config.max_num_new_slots_for_drafting * self.scheduler_config.max_num_seqs\n"
    ),
    "model_executor/layers/fused_moe/oracle/fp8.py": "def refine_fp8_moe_block_shape(config, weight_block_size): ...\n",
    "model_executor/layers/quantization/__init__.py": (
        "QuantizationMethods = Literal['fp8', 'fp_quant']\nDEPRECATED_QUANTIZATION_METHODS = ['fp_quant']\n"
    ),
    "engine/arg_utils.py": (
        "class EngineArgs:\n    def add_cli_args(parser):\n"
        "        parser.add_argument('--quantization', '-q', **kwargs)\n"
    ),
    "entrypoints/launchers/cli_args.py": (
        "class BaseFrontendArgs:\n    chat_template: str | None = None\n    def add_cli_args(cls, parser):\n"
        "        group.add_argument(*extra, f'--{key}')\n"
        "class FrontendArgs(BaseFrontendArgs):\n    port: int = 8000\n"
        "def make_arg_parser(parser):\n    parser.add_argument('model_tag')\n    parser.add_argument('--headless')\n"
    ),
    "model_executor/models/registry.py": (
        "_TEXT = {'LlamaForCausalLM': ('llama', 'LlamaForCausalLM')}\n"
        "_DRAFTS = {'MedusaModel': ('medusa', 'Medusa')}\n"
        "_OLD = {'OldForCausalLM': '0.1.0'}\n"
        "_VLLM_MODELS = {**_TEXT, **{name: _TEXT[name] for name in _TEXT}, **_DRAFTS}\n"
    ),
}


def sources(folder: Path, **changes: str) -> Path:
    for path, text in (SOURCES | changes).items():
        file = folder / "vllm" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_release_is_read_from_its_sources(tmp_path: Path) -> None:
    folder = sources(tmp_path)
    assert release_of(folder) == "0.40.1"
    assert set(facts_of(folder)) == {
        ("architecture", "LlamaForCausalLM"),
        ("architecture", "MedusaModel"),
        ("behaviour", "draft_inherits_experts"),
        ("behaviour", "experts_blocks_refined"),
        ("behaviour", "medusa_reads_vocabulary"),
        ("behaviour", "slots_per_sequence"),
        ("behaviour", "taps_cross_stages"),
        ("behaviour", "yarn_is_scaled"),
        ("config_key", "draft_sample_method"),
        ("config_key", "method"),
        ("config_key", "model"),
        ("config_value", "draft_sample_method=greedy"),
        ("config_value", "draft_sample_method=probabilistic"),
        ("deprecated_quantization", "fp_quant"),
        ("draft_layer", "eagle3/llama"),
        ("draft_layer", "eagle3/qwen3"),
        ("draft_layer", "peagle/llama"),
        ("flag", "--chat-template"),
        ("flag", "--headless"),
        ("flag", "--port"),
        ("flag", "--quantization"),
        ("flag", "-q"),
        ("float16_unsupported", "gemma2"),
        ("method", "mtp"),
        ("method", "ngram"),
        ("mtp_model", "OmniForCausalLM"),
        ("mtp_model", "ernie"),
        ("mtp_model", "mimo"),
        ("mtp_model", "mtp"),
        ("quantization", "fp8"),
        ("quantization", "fp_quant"),
        ("speculators_type", "dflash"),
        ("speculators_type", "eagle3"),
        ("speculators_type", "peagle"),
    }


UNREADABLE = {
    "options whose names are made elsewhere": (
        "engine/arg_utils.py",
        "for name in NAMES:\n    pass\ndef add(parser):\n    parser.add_argument(name)\n",
        "engine/arg_utils.py:4",
    ),
    "architectures that are made elsewhere": (
        "model_executor/models/registry.py",
        "_VLLM_MODELS = {**made()}\n",
        "registry.py:1",
    ),
    "no config of speculation": ("config/speculative.py", "SpeculativeMethod = Literal['a']\n", "SpeculativeConfig"),
    "a method that is no text": ("config/speculative.py", "SpeculativeMethod = Literal[0]\n", "isn't text"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_layout_that_is_not_known_is_said_rather_than_left_out(tmp_path: Path, name: str) -> None:
    path, text, words = UNREADABLE[name]
    with pytest.raises(Unreadable, match=words):
        facts_of(sources(tmp_path, **{path: text}))


def test_a_frontend_that_has_moved_is_said(tmp_path: Path) -> None:
    folder = sources(tmp_path)
    (folder / "vllm/entrypoints/launchers/cli_args.py").unlink()
    with pytest.raises(Unreadable, match="cli_args"):
        facts_of(folder)


ONE: Facts = {("method", "ngram"): "a.py A", ("flag", "--seed"): "b.py B"}
TWO: Facts = {("method", "ngram"): "c.py A", ("flag", "--port"): "b.py B"}


def table(*folded: tuple[str, Facts]) -> dict[str, Any]:
    made: dict[str, Any] = {"releases": [], "rows": []}
    for release, facts in folded:
        made = entered(made, release, facts)
    return made


def spans(made: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(row["name"], row["since"], row["until"]) for row in made["rows"]]


SPANS: dict[str, tuple[list[tuple[str, Facts]], list[tuple[str, str | None, str | None]]]] = {
    "the first": ([("0.20.0", ONE)], [("ngram", "0.20.0", None), ("--seed", "0.20.0", None)]),
    "one that changes nothing": (
        [("0.20.0", ONE), ("0.20.1", ONE)],
        [("ngram", "0.20.0", None), ("--seed", "0.20.0", None)],
    ),
    "one that brings and drops": (
        [("0.20.0", ONE), ("0.21.0", TWO)],
        [("ngram", "0.20.0", None), ("--port", "0.21.0", None), ("--seed", "0.20.0", "0.21.0")],
    ),
    "one that takes back": (
        [("0.9.0", ONE), ("0.10.0", TWO), ("0.11.0", ONE)],
        [
            ("ngram", "0.9.0", None),
            ("--port", "0.10.0", "0.11.0"),
            ("--seed", "0.9.0", "0.10.0"),
            ("--seed", "0.11.0", None),
        ],
    ),
    "the newest again, otherwise": (
        [("0.20.0", ONE), ("0.21.0", TWO), ("0.21.0", ONE)],
        [("ngram", "0.20.0", None), ("--seed", "0.20.0", None)],
    ),
}


@pytest.mark.parametrize("name", SPANS)
def test_a_release_is_entered(name: str) -> None:
    folded, expected = SPANS[name]
    made = table(*folded)
    assert spans(made) == expected
    assert {row["name"] for row in made["rows"] if "instead" in row} == {"--seed", "--port"} & {
        name for name, _, until in expected if until
    }
    assert written(entered(made, *folded[-1])) == written(made), "entering it again changes nothing"


def test_what_was_written_by_hand_stays() -> None:
    made = table(("0.20.0", ONE), ("0.21.0", TWO))
    dropped = next(row for row in made["rows"] if row["until"])
    assert dropped["instead"] is None
    dropped["instead"] = "leave it out"
    ancient = {"kind": "flag", "name": "--old", "since": None, "until": "0.8.0", "instead": "x", "source": "y"}
    made["rows"].append(ancient)
    again = entered(entered(made, "0.21.0", TWO), "0.22.0", TWO)
    assert dropped in again["rows"]
    assert ancient in again["rows"]


def test_a_release_before_the_newest_can_not_be_entered() -> None:
    with pytest.raises(ValueError, match=r"0\.20\.0 is older than 0\.21\.0"):
        table(("0.21.0", TWO), ("0.20.0", ONE))
