from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Finding, MemoryEstimate, Reason, Resolved, Severity
from speculator_operator.errors import Refusals, Refused
from speculator_operator.reference import Kind, Reference
from tests.support import inputs

DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize("case", [*inputs.BAD, *inputs.BAD_FOR_THE_OPERATOR])
def test_a_bad_value_is_refused_with_its_field_named(case: str) -> None:
    field, spec = {**inputs.BAD, **inputs.BAD_FOR_THE_OPERATOR}[case]
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource(spec))
    named = refused.value.field
    assert named is not None
    assert named.startswith(field)
    assert refused.value.message.startswith(f"{named}: ")
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("name", inputs.BAD_NAMES.values(), ids=inputs.BAD_NAMES)
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"SpecInvalid: metadata.name: .*52 lower-case letters") as refused:
        api.SpeculatorDeployment.from_object(inputs.resource({}, name))
    assert refused.value.field == "metadata.name"


def test_a_name_that_is_missing_is_refused() -> None:
    with pytest.raises(Refused, match=r"metadata\.name: "):
        api.SpeculatorDeployment.from_object({"spec": {"model": {"uri": inputs.URI}}})


@pytest.mark.parametrize("case", inputs.GOOD)
def test_a_good_value_is_taken(case: str) -> None:
    assert api.SpeculatorDeployment.from_object(inputs.resource(inputs.GOOD[case])).name == inputs.NAME


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({"engine": {"image": "vllm:latest"}}, "ImageUnpinned", id="a tag that moves"),
        pytest.param(
            {"speculation": {"draftTensorParallelSize": 2}, "parallelism": {"tensor": 4}},
            "DraftTensorParallelInvalid",
            id="a draft on 2 GPUs of 4",
        ),
        pytest.param({"replicas": -1}, "SpecInvalid", id="anything that the schema refuses"),
    ],
)
def test_a_refusal_bears_the_reason_of_the_rule(spec: inputs.Spec, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource(spec))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param({"env": [{"name": "HF_TOKEN", "value": "hf_secret" * 600}]}, id="a variable"),
        pytest.param({"args": ["--api-key=hf_secret" * 600]}, id="an argument"),
    ],
)
def test_what_may_be_a_token_is_not_repeated(engine: inputs.Spec) -> None:
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource({"engine": engine}))
    assert "hf_secret" not in refused.value.message


@pytest.mark.parametrize("spec", [None, [], "x", 4], ids=repr)
def test_a_spec_that_is_no_object_is_refused(spec: object) -> None:
    with pytest.raises(Refused, match=r"SpecInvalid: spec"):
        api.SpeculatorDeployment.from_object({"metadata": {"name": inputs.NAME}, "spec": spec})


def test_the_number_of_further_errors_is_said() -> None:
    with pytest.raises(Refused, match=r"spec\.parallelism\.tensor: .*, not 0 \(1 more\)"):
        api.SpeculatorDeployment.from_object(inputs.resource({"parallelism": {"tensor": 0}, "replicas": -1}))


UNKNOWN: dict[str, tuple[str, dict[Any, Any], str]] = {
    "a misspelt part": ("spec.speculations", {"speculations": {}}, "did you mean speculation?"),
    "another way to spell it": (
        "spec.model.served_name",
        {"model": {"uri": "a/b", "served_name": "x"}},
        "did you mean servedName?",
    ),
    "an item of a list": (
        "spec.engine.env[1].vlaue",
        {"engine": {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1", "vlaue": "2"}]}},
        "did you mean value?",
    ),
    "nothing that is alike": (
        "spec.parallelism.xyz",
        {"parallelism": {"xyz": 1}},
        "it may be tensor, pipeline, data",
    ),
    "what is no text": ("spec.7", {7: 7}, "it may be model, "),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_field_that_does_not_exist_is_refused_with_the_one_that_was_meant(case: str) -> None:
    field, spec, remedy = UNKNOWN[case]
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource(spec))
    assert (refused.value.field, refused.value.others) == (field, ())
    assert refused.value.remedy.startswith(remedy)


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_field_that_does_not_exist_can_be_left_out_as_the_api_server_does(case: str) -> None:
    field, spec, _ = UNKNOWN[case]
    unknown = Refusals()
    resource = api.SpeculatorDeployment.from_object(inputs.resource(spec), unknown)
    assert resource.name == inputs.NAME
    assert [refusal.field for refusal in unknown.each] == [field]


def test_the_value_of_a_field_that_does_not_exist_is_not_repeated() -> None:
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource({"model": {"uri": "a/b", "token": "hf_secret"}}))
    assert "hf_secret" not in str(refused.value)


def test_everything_that_is_wrong_comes_with_the_first() -> None:
    spec = {"parallelism": {"tensor": 0}, "replicas": -1, "speculations": {}}
    with pytest.raises(Refused) as refused:
        api.SpeculatorDeployment.from_object(inputs.resource(spec, "3llama"))
    each = (refused.value, *refused.value.others)
    fields = ["spec.speculations", "metadata.name", "spec.parallelism.tensor", "spec.replicas"]
    assert [refusal.field for refusal in each] == fields
    assert refused.value.message.endswith(" (3 more)")
    assert not any("more)" in api.Finding.refused(refusal).message for refusal in each)


@pytest.mark.parametrize(
    ("case", "refusal", "message"),
    [
        ("all of it", Refused("A", "spec.a: it is 1", field="spec.a", remedy="set 2"), "spec.a: it is 1; set 2"),
        ("no remedy of its own", Refused("A", "spec.a: it is 1; set 2", field="spec.a"), "spec.a: it is 1; set 2"),
        (
            "a field that the words name",
            Refused("A", "it is 1", field="spec.a", remedy="set spec.a"),
            "it is 1; set spec.a",
        ),
        ("no field", Refused("A", "it is 1"), "it is 1"),
    ],
)
def test_a_refusal_says_the_same_as_a_finding(case: str, refusal: Refused, message: str) -> None:
    assert api.Finding.refused(refusal).message == message, case
    assert api.Finding.refused(Refused("A" * 999, "b" * 9999, field="c" * 999, remedy="d" * 9999)).reason == "A" * 253


@pytest.mark.parametrize(
    ("uri", "revision", "reference"),
    [
        ("org/model", None, Reference(Kind.HUB, "org/model")),
        ("hf://org/model@dev", None, Reference(Kind.HUB, "org/model", revision="dev")),
        ("org/model", "v1", Reference(Kind.HUB, "org/model", revision="v1")),
        ("org/model@refs/pr/1", "refs/pr/1", Reference(Kind.HUB, "org/model", revision="refs/pr/1")),
        ("pvc://models", None, Reference(Kind.CLAIM, "models")),
        ("pvc://models/llama/8b/", None, Reference(Kind.CLAIM, "models", "llama/8b")),
        ("s3://bucket.of-models/llama/8b", None, Reference(Kind.S3, "bucket.of-models", "llama/8b")),
        ("gs://bucket/llama", None, Reference(Kind.GCS, "bucket", "llama")),
        (
            f"oci://registry:5000/models/llama{DIGEST}",
            None,
            Reference(Kind.IMAGE, f"registry:5000/models/llama{DIGEST}"),
        ),
        (
            f"oci://registry/llama:v1{DIGEST}/models",
            None,
            Reference(Kind.IMAGE, f"registry/llama:v1{DIGEST}", "models"),
        ),
    ],
)
def test_a_source_says_where_a_checkpoint_is(uri: str, revision: str | None, reference: Reference) -> None:
    assert api.Source(uri=uri, revision=revision).reference == reference


@pytest.mark.parametrize(
    "uri", ["org/model", "pvc://models/llama/8b", f"oci://registry/llama{DIGEST}/models", "s3://bucket/a"]
)
def test_a_reference_is_written_as_it_was_read(uri: str) -> None:
    assert Reference.parse(uri).uri == uri


@pytest.mark.parametrize("part", ["", "verifier", "sources", "warnings", "memory"])
def test_what_a_later_release_has_stored_is_passed_over(part: str) -> None:
    """After a rollback an older operator reads ControllerRevisions of a newer one."""
    finding = Finding(severity=Severity.WARNING, reason=Reason.CONTEXT_TOO_LONG, evidence="it is long")
    memory = MemoryEstimate(accelerators=1)
    resolved = inputs.RESOLVED.model_copy(update={"warnings": [finding], "memory": memory})
    stored = resolved.model_dump(mode="json", by_alias=True)
    whole = stored[part] if part else stored
    (whole[0] if isinstance(whole, list) else whole)["later"] = {"any": "thing"}
    assert Resolved.model_validate(stored) == resolved
