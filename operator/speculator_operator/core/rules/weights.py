"""Weights: which files hold them, and in which form the engine reads and computes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from speculator_operator.api import Finding, Reason
from speculator_operator.core import releases, weight_files
from speculator_operator.core.model_config import Config, quantization_method, text
from speculator_operator.core.rules.case import Case, Rule, by_the_verifiers_config, error, warning

#: By what other names a method's checkpoints may be asked for. Source: ``override_quantization_method`` of the classes
#: in model_executor/layers/quantization; ``deepseek_v4_fp8`` in models/deepseek_v4/quant_config.py.
_ASKED_FOR_AS: Mapping[str, frozenset[str]] = {
    "awq": frozenset({"auto_awq", "awq_marlin", "cpu_awq", "marlin", "moe_wna16"}),
    "gptq": frozenset({"auto_gptq", "gptq_marlin", "marlin", "moe_wna16"}),
    "fp8": frozenset({"deepseek_v4_fp8"}),
}
#: Methods that take every checkpoint. Source: the same.
_TAKES_ANY = frozenset({"gguf", "humming"})
#: Checkpoints by which the engine chooses a method, whatever is asked for. Source: the same.
_CHOSEN_BY_CHECKPOINT = re.compile(r"auto-round|modelopt\w*|(gpt_oss_)?mxfp4|deepseek_v4_fp8")


def weights_unusable(case: Case) -> Iterator[Finding]:
    """There are weights, whole, of a model, and none that have to be unpickled.

    Source: ``DefaultModelLoader._prepare_weights`` in model_executor/model_loader/default_loader.py, which takes what
    LoRA has trained (``adapter_model``) for a model. Unpickling runs whatever code is in the file.
    """
    models = [("verifier", case.verifier, case.verifier_field)]
    if case.draft is not None:
        models.append(("draft", case.draft, case.field))
    for whose, model, field in models:
        if model.files is None:
            continue
        if missing := weight_files.missing_shards(model.files):
            yield error(
                Reason.WEIGHTS_MISSING,
                f"the {whose} {model.uri[:200]} has only some of its weights: there is no {', no '.join(missing)}",
                "upload the rest, or name another revision",
                field,
            )
        if weight_files.adapter_only(model.files):
            yield error(
                Reason.WEIGHTS_MISSING,
                f"the {whose} {model.uri[:200]} holds an adapter only (adapter_model, of LoRA), which is no model",
                "merge it into the model that it was trained for, and name that",
                field,
            )
            continue
        if found := weight_files.safetensors(model.files):
            if stubs := weight_files.stubs(model.files):
                yield (error if len(stubs) == len(found) else warning)(
                    Reason.WEIGHTS_MISSING,
                    f"files of the {whose} {model.uri[:200]} are too small for weights: {len(stubs)} of {len(found)} "
                    f"have less than {weight_files.SMALLEST} bytes, such as {stubs[0][:100]}; git-lfs pointers?",
                    "upload the files that they stand for (git lfs pull), or name another revision",
                    field,
                )
            continue
        pickled = weight_files.pickled(model.files)
        if not pickled or (case.allow_pickled_weights and not weight_files.unpickled(model.files)):
            yield error(
                Reason.WEIGHTS_MISSING,
                f"there are no weights beside the config.json of the {whose} {model.uri[:200]} (no *.safetensors)",
                "name a repository, revision or folder that has them",
                field,
            )
        elif not case.allow_pickled_weights:
            yield error(
                Reason.PICKLED_WEIGHTS_REFUSED,
                f"the {whose} {model.uri[:200]} has pickled weights only ({pickled[0][:100]}), and loading them runs "
                "whatever code is in them",
                "convert them to safetensors, or ask whoever runs the operator for SPECULATOR_ALLOW_PICKLED_WEIGHTS",
                field,
            )


@by_the_verifiers_config
def quantization_unsupported(case: Case) -> Iterator[Finding]:
    """The weights are quantized by a method that the engine has, and by the one that it is told.

    Source: ``ModelConfig._verify_quantization`` in config/model.py. For the draft it is told nothing of what
    ``--allow-deprecated-quantization`` allows (the end of ``SpeculativeConfig.__post_init__``).
    """
    allowed = case.on("--allow-deprecated-quantization")
    verifier = case.verifier_field
    yield from _quantization_finding(
        case, "verifier", case.verifier.config, case.flags.get("--quantization", ""), allowed=allowed, field=verifier
    )
    if case.draft is not None:
        asked = text(case.speculative, "quantization")
        yield from _quantization_finding(case, "draft", case.config, asked, allowed=False, field=case.field)


def _quantization_finding(
    case: Case, whose: str, config: Config, asked: str, *, allowed: bool, field: str
) -> Iterator[Finding]:
    stored = quantization_method(config)
    asked = "" if asked == "None" else asked.lower()
    named, version = stored or asked, case.engine_version
    if stored and asked and not _asked_for(config, stored, asked):
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose}'s weights are quantized by {stored}, and {asked[:100]} is asked for",
            f"take {asked[:100]} out: the engine reads the method from config.json",
            "spec.engine.args" if whose == "verifier" else "spec.speculation.config.quantization",
        )
    elif _CHOSEN_BY_CHECKPOINT.fullmatch(stored) or asked in _TAKES_ANY:
        return
    elif stored and not releases.available("quantization", stored, version):
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose}'s weights are quantized by {stored}, which engine {version} doesn't implement",
            "use weights that are quantized otherwise, or an engine that has it",
            field,
        )
    elif releases.available("deprecated_quantization", named, version) and not allowed:
        allow = "add --allow-deprecated-quantization to spec.engine.args, or " if whose == "verifier" else ""
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose} is quantized by {named}, which engine {version} takes only if allowed to: it goes soon",
            f"{allow}use weights that are quantized otherwise",
            field,
        )


def _asked_for(config: Config, stored: str, asked: str) -> bool:
    """Whether the engine takes weights that are stored so for what it is asked for."""
    by_type = stored == "fp8" and text(config, "model_type").startswith("deepseek_v4")
    return (
        asked == stored
        or by_type
        or asked in _TAKES_ANY | _ASKED_FOR_AS.get(stored, frozenset())
        or _CHOSEN_BY_CHECKPOINT.fullmatch(stored) is not None
    )


@by_the_verifiers_config
def float16_unsupported(case: Case) -> Iterator[Finding]:
    """Some models overflow in float16. A draft runs in what its verifier does.

    Source: ``_check_valid_dtype`` in config/model.py.
    """
    asked = case.flags.get("--dtype", "").lower()
    models = [("verifier", case.verifier.config)]
    if case.draft is not None:
        models.append(("draft", case.config))
    for whose, config in models:
        kind = text(config, "model_type")
        if asked in ("half", "float16") and releases.available("float16_unsupported", kind, case.engine_version):
            yield case.closed(
                Reason.ARGS_INVALID,
                f"--dtype is {asked}, in which the engine doesn't run a model of type {kind}, as the {whose} is",
                "set it to bfloat16, or leave it out",
                "spec.engine.args",
            )


RULES: tuple[Rule, ...] = (
    weights_unusable,
    quantization_unsupported,
    float16_unsupported,
)
