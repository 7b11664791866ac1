"""Enters what a release of the engine accepts into ``core/engine_releases.json``, the table of releases.

It reads the engine's sources and imports nothing of them, so that any release can be read anywhere. A folder is one
that holds ``vllm``: an unpacked sdist, or what the engine was installed into. It prints the table as it would be, or
writes it::

    python tools/engine_releases.py --write FOLDER...

Releases are entered in their order, from the newest in the table on; entering that one again changes nothing. Two
things no source says, and they stay as they stand in the table: what to write instead of an option that is gone, and
the options that went before the oldest release was read.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "operator/speculator_operator/core/engine_releases.json"

#: The kinds of rows, in the table's order.
KINDS = (
    "behaviour",
    "speculators_type",
    "draft_layer",
    "method",
    "config_key",
    "config_value",
    "flag",
    "architecture",
    "mtp_model",
    "quantization",
    "deprecated_quantization",
    "float16_unsupported",
)

#: What a release accepts: (kind, name) -> the file and the symbol that say so.
Facts = dict[tuple[str, str], str]
Row = dict[str, Any]
Definition = ast.ClassDef | ast.FunctionDef
Table = dict[str, Any]

ARGUMENTS = "vllm/engine/arg_utils.py"
FRONTENDS = tuple(f"vllm/entrypoints/{place}/cli_args.py" for place in ("common", "launchers", "openai"))
EXPERTS = "vllm/model_executor/layers/fused_moe/oracle/fp8.py"
INTERFACES = "vllm/model_executor/models/interfaces.py"
MODEL_CONFIG = "vllm/config/model.py"
QUANTIZATION = "vllm/model_executor/layers/quantization/__init__.py"
REGISTRY = "vllm/model_executor/models/registry.py"
SPECULATIVE = "vllm/config/speculative.py"
SPECULATORS = "vllm/transformers_utils/configs/speculators/algos.py"
VLLM_CONFIG = "vllm/config/vllm.py"

#: Behaviours that one expression shows: it, and the symbol that it is in.
MARKS = {
    SPECULATIVE: {
        "self.target_model_config.hf_config.vocab_size": ("medusa_reads_vocabulary", "SpeculativeConfig"),
        "enable_expert_parallel=target_parallel_config.enable_expert_parallel": (
            "draft_inherits_experts",
            "create_draft_parallel_config",
        ),
    },
    VLLM_CONFIG: {
        "self.speculative_config.max_num_new_slots_for_drafting * self.scheduler_config.max_num_seqs": (
            "slots_per_sequence",
            "_set_max_num_scheduled_tokens",
        ),
    },
}


class Unreadable(Exception):
    """A source isn't laid out as this tool knows it: it must learn the new layout, or the table would have gaps."""


def facts_of(folder: Path) -> Facts:
    """All that is read of one release.

    Raises:
        Unreadable, OSError, SyntaxError: it can't be read as a whole.
    """
    facts: Facts = {}
    for reader in (behaviours, speculators, speculative_config, flags, architectures, mtp_models, quantization):
        facts |= reader(folder)
    return facts


def release_of(folder: Path) -> str:
    """The release, such as ``0.32.0``, of the sources in a folder."""
    for name, value in _assigned(_parsed(folder, "vllm/_version.py")):
        if name == "__version__" and (match := re.match(r"\d+\.\d+\.\d+", _text(value))):
            return match[0]
    raise Unreadable(f"{folder}/vllm/_version.py: no __version__")


def behaviours(folder: Path) -> Facts:
    """What an engine does otherwise since some release, by a mark that the change left in its sources."""
    facts: Facts = {}
    attribute = "supports_aux_hidden_states_over_pp"
    for node in ast.walk(_parsed(folder, INTERFACES)):
        if isinstance(node, ast.AnnAssign) and _name(node.target) == attribute:
            facts["behaviour", "taps_cross_stages"] = f"{INTERFACES} {attribute}"
    function = _definition(folder, MODEL_CONFIG, "_get_and_verify_max_len")
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn):
            unscaled = [part.value for part in ast.walk(node.comparators[0]) if isinstance(part, ast.Constant)]
            if "yarn" in unscaled:
                facts["behaviour", "yarn_is_scaled"] = f"{MODEL_CONFIG} {function.name}"
    for node in _parsed(folder, EXPERTS).body:
        if isinstance(node, ast.FunctionDef) and node.name == "refine_fp8_moe_block_shape":
            facts["behaviour", "experts_blocks_refined"] = f"{EXPERTS} {node.name}"
    return facts | _marked(folder)


def _marked(folder: Path) -> Facts:
    facts: Facts = {}
    for path, marks in MARKS.items():
        for node in ast.walk(_parsed(folder, path)):
            if isinstance(node, ast.Attribute | ast.BinOp | ast.keyword) and (mark := marks.get(ast.unparse(node))):
                behaviour, symbol = mark
                facts["behaviour", behaviour] = f"{path} {symbol}"
    return facts


def speculators(folder: Path) -> Facts:
    """The types of speculators checkpoints, and for those that care, the layers that a draft may have: TYPE/LAYER."""
    facts: Facts = {}
    for node in _parsed(folder, SPECULATORS).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _name(decorator.func) == "register_speculator":
                name = _text(decorator.args[0])
                facts["speculators_type", name] = f"{SPECULATORS} {node.name}"
                for layer in _layers(node):
                    facts["draft_layer", f"{name}/{layer}"] = f"{SPECULATORS} {node.name}"
    return facts


def _layers(function: ast.FunctionDef) -> list[str]:
    for name, value in _assigned(function):
        if name.endswith("_arch_map") and isinstance(value, ast.Dict):
            return [_text(key) for key in value.keys]
    # Before architectures were chosen by the layers, those of drafts with llama layers said so.
    texts = [str(part.value) for part in ast.walk(function) if isinstance(part, ast.Constant)]
    return ["llama"] if any(re.fullmatch(r"\w+LlamaForCausalLM", text) for text in texts) else []


def speculative_config(folder: Path) -> Facts:
    """The methods, the keys of the speculative config, and the values of the keys that take one of a few: KEY=VALUE."""
    literals = _literals(folder, SPECULATIVE)
    facts: Facts = {("method", method): f"{SPECULATIVE} SpeculativeMethod" for method in literals["SpeculativeMethod"]}
    for node in _definition(folder, SPECULATIVE, "SpeculativeConfig").body:
        if not isinstance(node, ast.AnnAssign):
            continue
        key = _name(node.target)
        facts["config_key", key] = f"{SPECULATIVE} SpeculativeConfig"
        for part in ast.walk(node.annotation):
            for text in literals.get(_name(part), ()) if key != "method" else ():
                facts["config_value", f"{key}={text}"] = f"{SPECULATIVE} {_name(part)}"
    return facts


def flags(folder: Path) -> Facts:
    """The options of ``vllm serve`` by every way to spell them, but for the ``--no-`` that each switch has too.

    They are calls of ``add_argument``, and the fields of the frontend's arguments.
    """
    facts: Facts = {}
    frontends = [path for path in FRONTENDS if (folder / path).is_file()]
    if not frontends:
        raise Unreadable(f"{folder}: no {' or '.join(FRONTENDS)}")
    for path in (ARGUMENTS, frontends[0]):
        for node in _parsed(folder, path).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            names = list(_added(node, path))
            if isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
                fields = [_name(field.target) for field in node.body if isinstance(field, ast.AnnAssign)]
                names += ["--" + field.replace("_", "-") for field in fields]
            facts |= {("flag", name): f"{path} {node.name}" for name in names}
    return facts


def _added(scope: ast.AST, path: str) -> Iterator[str]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            for given in node.args:
                if isinstance(given, ast.Constant):
                    if _text(given).startswith("-"):
                        yield _text(given)
                elif not isinstance(given, ast.JoinedStr | ast.Starred):  # those are made of the frontend's fields
                    raise Unreadable(f"{path}:{given.lineno}: the option's name isn't there to read")


def architectures(folder: Path) -> Facts:
    """Every architecture that the model registry has an implementation of, those of drafts included."""
    groups = {name: value for name, value in _assigned(_parsed(folder, REGISTRY)) if isinstance(value, ast.Dict)}
    return {("architecture", name): f"{REGISTRY} _VLLM_MODELS" for name in _keys(groups, "_VLLM_MODELS")}


def _keys(groups: Mapping[str, ast.Dict], name: str) -> Iterator[str]:
    for key, value in zip(groups[name].keys, groups[name].values, strict=True):
        if key is not None:
            yield _text(key)
        elif _name(value) in groups:
            yield from _keys(groups, _name(value))
        elif not isinstance(value, ast.DictComp):  # a choice from another group
            raise Unreadable(f"{REGISTRY}:{value.lineno}: {name} has entries that aren't there to read")


def mtp_models(folder: Path) -> Facts:
    """The models in which layers for multi-token prediction are found: by their type, or by their architecture."""
    names = set(_literals(folder, SPECULATIVE)["MTPModelTypes"])
    config = _definition(folder, SPECULATIVE, "SpeculativeConfig")
    for node in ast.walk(_definition_in(config, SPECULATIVE, "hf_config_override")):
        if isinstance(node, ast.If) and _makes_a_draft(node):
            for test in ast.walk(node.test):
                if isinstance(test, ast.Compare) and re.search(r"\bhf_config\.|architecture", ast.unparse(test)):
                    names |= {_text(part) for part in ast.walk(test) if _is_text(part)}
    return {("mtp_model", name): f"{SPECULATIVE} hf_config_override" for name in names}


def _makes_a_draft(branch: ast.If) -> bool:
    """Whether a branch makes another config of the model's: heads of other kinds get another architecture only."""
    assigned = [target for part in branch.body if isinstance(part, ast.Assign) for target in part.targets]
    return any(ast.unparse(target) in ("hf_config", "hf_config.model_type", "n_predict") for target in assigned)


def quantization(folder: Path) -> Facts:
    """The methods of quantization, those that must be allowed, and the types of models that don't run in float16."""
    methods = _literals(folder, QUANTIZATION)["QuantizationMethods"]
    facts: Facts = {("quantization", method): f"{QUANTIZATION} QuantizationMethods" for method in methods}
    for name, value in _assigned(_parsed(folder, QUANTIZATION)):
        if name == "DEPRECATED_QUANTIZATION_METHODS" and isinstance(value, ast.List):
            facts |= {("deprecated_quantization", _text(part)): f"{QUANTIZATION} {name}" for part in value.elts}
    for name, value in _assigned(_parsed(folder, MODEL_CONFIG)):
        if name == "_FLOAT16_NOT_SUPPORTED_MODELS" and isinstance(value, ast.Dict):
            facts |= {("float16_unsupported", _text(key)): f"{MODEL_CONFIG} {name}" for key in value.keys}
    return facts


def entered(table: Table, release: str, facts: Mapping[tuple[str, str], str]) -> Table:
    """The table with one more release, or with its newest one read again.

    Raises:
        ValueError: the release is older than the newest in the table.
    """
    releases = [known for known in table["releases"] if known != release]
    if releases and _order(release) < _order(releases[-1]):
        raise ValueError(f"{release} is older than {releases[-1]}, the newest in the table")
    rows: list[Row] = [dict(row) for row in table["rows"] if row["since"] != release]
    there = set()
    for row in rows:
        found = (row["kind"], row["name"]) in facts
        if row["until"] == release and found:
            row["until"] = None
            row.pop("instead", None)
        elif row["until"] is None and not found:
            row["until"] = release
        if row["until"] is None:
            there.add((row["kind"], row["name"]))
    rows += [
        {"kind": kind, "name": name, "since": release, "until": None, "source": f"{release}: {source}"}
        for (kind, name), source in facts.items()
        if (kind, name) not in there
    ]
    for row in rows:
        if row["kind"] == "flag" and row["until"] is not None:
            row.setdefault("instead", None)
    rows.sort(key=lambda row: (KINDS.index(row["kind"]), row["name"], _order(row["since"] or "0")))
    return {"releases": [*releases, release], "rows": rows}


def written(table: Table) -> str:
    """The table as text, a row to a line."""
    keys = ("kind", "name", "since", "until", "instead", "source")
    rows = [json.dumps({key: row[key] for key in keys if key in row}) for row in table["rows"]]
    return f'{{\n"releases": {json.dumps(table["releases"])},\n"rows": [\n' + ",\n".join(rows) + "\n]\n}\n"


def _parsed(folder: Path, path: str) -> ast.Module:
    return ast.parse((folder / path).read_text(), path)


def _definition(folder: Path, path: str, name: str) -> Definition:
    return _definition_in(_parsed(folder, path), path, name)


def _definition_in(scope: ast.Module | Definition, path: str, name: str) -> Definition:
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
    raise Unreadable(f"{path}: no {name}")


def _literals(folder: Path, path: str) -> dict[str, list[str]]:
    """The names of types that are one of a few texts, and those texts."""
    literals: dict[str, list[str]] = {}
    for name, value in _assigned(_parsed(folder, path)):
        if isinstance(value, ast.Subscript) and _name(value.value) == "Literal":
            parts = value.slice.elts if isinstance(value.slice, ast.Tuple) else [value.slice]
            literals[name] = [text for part in parts for text in literals.get(_name(part)) or [_text(part)]]
    return literals


def _assigned(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of each assignment."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            yield from ((_name(target), node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield _name(node.target), node.value


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise Unreadable(f"{ast.unparse(node) if node else None} isn't text")


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table instead of printing it")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    given = parser.parse_args(arguments)
    table: Table = json.loads(TABLE.read_text())
    try:
        for folder in sorted(given.folders, key=lambda folder: _order(release_of(folder))):
            table = entered(table, release_of(folder), facts_of(folder))
    except (OSError, SyntaxError, Unreadable, ValueError) as error:
        parser.exit(1, f"{error}\n")
    if given.write:
        TABLE.write_text(written(table))
    else:
        sys.stdout.write(written(table))
    for row in table["rows"]:
        if row.get("instead", "") is None:
            sys.stderr.write(f"say in {TABLE.name} what to write instead of {row['name']}, gone in {row['until']}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
