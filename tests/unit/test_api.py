from __future__ import annotations

import pytest

from speculator_operator import api
from speculator_operator.errors import Refused
from tests.support import inputs


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


@pytest.mark.parametrize(
    ("uri", "revision", "repository", "wanted"),
    [
        ("org/model", None, "org/model", None),
        ("hf://org/model@dev", None, "org/model", "dev"),
        ("org/model", "v1", "org/model", "v1"),
        ("org/model@refs/pr/1", "refs/pr/1", "org/model", "refs/pr/1"),
    ],
)
def test_a_source_says_which_repository_and_revision(
    uri: str, revision: str | None, repository: str, wanted: str | None
) -> None:
    source = api.Source(uri=uri, revision=revision)
    assert (source.repository, source.wanted_revision) == (repository, wanted)
