"""``spec.engine.args``, parsed as the engine parses them, and held against what a resource may set.

How options are parsed is data, written down from the engine's own parser (``engine_flags/*.json``, by
``tools/engine_flags.py``). Which of them a release has is in the table of ``releases``. Which of them a resource may
set is ours (``engine_flags/policy.json``): every option of the data is there as a mirror of a field, as refused with a
reason, or as allowed; one that isn't there is refused. So are the keys of an allowed option that takes a JSON object,
for the engine loads code and files by some of them. An installation may allow more options (``Settings``), but for the
groups that are marked final.

Where the engine would guess, this refuses: abbreviated options (a later release may read them otherwise), values that
start with a dash, a JSON option given twice in different forms (the engine would drop one of them).
Source: FlexibleArgumentParser in vllm/utils/argparse_utils.py, and argparse.
"""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib import resources
from typing import Any, TypeVar

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.core import releases
from speculator_operator.core.words import quoted
from speculator_operator.errors import RAISED, Refusals, Refused
from speculator_operator.reference import REVISION_PATTERN, URI_PATTERN
from speculator_operator.settings import Settings, variable

_Value = TypeVar("_Value")

_NEGATIVE_INTEGER = re.compile(r"-\d+")
_HUMAN_INTEGER = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')
#: Names of variables whose values don't belong into a resource, whoever allows them.
_SECRET = re.compile(r"(.*_)?(TOKEN|SECRETS?|KEY|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)|.*_SECRET.*")
#: Deeper JSON and larger numbers than these are nothing that an option takes, and would be trouble further on.
_DEEPEST = 32
_LARGEST = 2**63
_JSON_TYPES = ("json", "json_object", "str_or_json")
_WHAT = {
    "int": "a whole number",
    "float": "a number",
    "human_int": "a whole number, such as 4096 or 4k",
    "human_int_or_auto": "a whole number, such as 4096 or 4k, or auto",
    "json": "JSON",
    "json_object": "a JSON object",
    "str_or_json": "text, or a JSON object",
}
#: As pydantic calls them.
_BOUNDS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "ge": ("at least", lambda number, limit: number >= limit),
    "gt": ("more than", lambda number, limit: number > limit),
    "le": ("at most", lambda number, limit: number <= limit),
    "lt": ("less than", lambda number, limit: number < limit),
}


@dataclass(frozen=True)
class Option:
    """An option as the engine's parser has it. ``values`` is argparse's nargs: a number, ``?``, ``+`` or ``*``.

    ``keys`` are those that its JSON object may have, ``names`` what its text may be in lower case, ``bounds`` (``ge``,
    ``gt``, ``le``, ``lt``) what its number may be; none where the engine doesn't say, or where that wasn't read.
    """

    name: str
    strings: tuple[str, ...]
    values: int | str
    type: str
    optional: bool
    choices: tuple[str, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Argument:
    """One option that was given: ``option`` as spelled (after normalising), ``tokens`` as the user wrote it.

    ``index`` is its first token's place in ``spec.engine.args``. ``path`` are the dotted keys after the option's name,
    such as ``model`` in ``--speculative-config.model``; None where the value was given whole.
    """

    index: int
    name: str
    option: str
    path: str | None
    values: tuple[str, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class ArgFields:
    """What the arguments say of things that fields say too, None or empty where they don't, and the ``rest``.

    ``max_model_len`` is read here, and stays in the rest too: no field sets it. ``speculative`` has the keys of the
    speculative config, dashes as underscores. ``flags`` names, for each attribute that was set, the flag.
    """

    tensor: int | None = None
    pipeline: int | None = None
    port: int | None = None
    served_names: tuple[str, ...] = ()
    model: str | None = None
    revision: str | None = None
    max_model_len: int | None = None
    speculative: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class _Group:
    """Options that are refused for one reason. ``setting`` is what allows them; None where nothing may."""

    because: str
    setting: str | None


@dataclass(frozen=True)
class _Policy:
    """``keys`` are paths into an option's JSON object, and allow what is below them. Every option that may hold such
    an object is there, empty if it takes a list, or in ``any_key``.
    """

    fields: Mapping[str, str]
    refused: Mapping[str, _Group]
    allowed: frozenset[str]
    values: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, frozenset[tuple[str, ...]]]
    any_key: frozenset[str]
    variables: frozenset[str]
    final_variables: Mapping[str, str]


_NOT_LOOKED_AT = _Group("it has not been looked at yet", "allow_flags")
_POLICY_ALONE = Settings()


def parse_args(
    args: Sequence[str], version: str, settings: Settings = _POLICY_ALONE, refusals: Refusals = RAISED
) -> tuple[Argument, ...]:
    """Splits arguments into options and values, each checked by the option's type and against what may be set.

    What is refused is left out of the result: ``ArgsInvalid`` where the engine of that version would not take it,
    ``FlagRefused`` where a resource may not set the option. Both name the element of ``spec.engine.args``.
    """
    options = options_of(version)
    arguments: list[Argument] = []
    index = 0
    while index < len(args):
        argument = refusals.attempt(_argument, args, index, options, version)
        if argument is None:
            index = _next_option(args, index)
            continue
        if refusals.attempt(_judged, argument, options, settings):
            arguments.append(argument)
        index += len(argument.tokens)
    return _unmixed(arguments, refusals)


def fields_from(arguments: Iterable[Argument], refusals: Refusals = RAISED) -> ArgFields:
    """Takes out the arguments that fields mirror. An option that is repeated counts as last given, as in argparse.

    What is refused counts as not given: ``ArgsInvalid`` for a value that the field could not have,
    ``DataParallelUnsupported``.
    """
    last: dict[str, list[Argument]] = {}
    rest: list[Argument] = []
    for argument in arguments:
        given = last.setdefault(argument.name, [])
        if argument.path is None:
            given.clear()
        given.append(argument)
        if argument.name not in _policy().fields:
            rest.append(argument)

    def read(name: str, reading: Callable[..., _Value], *more: Any) -> _Value | None:
        return refusals.attempt(reading, last[name][-1], *more) if name in last else None

    read("--data-parallel-size", _one_rank)
    model = read("--model", _matching, URI_PATTERN)
    revision = read("--revision", _matching, REVISION_PATTERN)
    return ArgFields(
        tensor=read("--tensor-parallel-size", _whole, 1, 64),
        pipeline=read("--pipeline-parallel-size", _whole, 1, 64),
        port=read("--port", _whole, 1024, 65535),
        served_names=read("--served-model-name", _matching, _SERVED_NAME) or (),
        model=model[0] if model else None,
        revision=revision[0] if revision else None,
        max_model_len=read("--max-model-len", _max_model_len),
        speculative=refusals.attempt(_speculative, last) or {},
        flags={attribute: last[name][-1].option for attribute, name in _FLAG_OF.items() if name in last},
        rest=tuple(rest),
    )


def flags_of(arguments: Iterable[Argument]) -> dict[str, str]:
    """The last value of each option, by its name: ``false`` for a ``--no-`` form, empty if given by dotted keys."""
    return {argument.name: _last_value(argument) for argument in arguments}


def _last_value(argument: Argument) -> str:
    if argument.path is not None:
        return ""
    turned_off = argument.option.startswith("--no-") and not argument.name.startswith("--no-")
    return "false" if turned_off else " ".join(argument.values)


def check_env(variables: Iterable[api.EnvVar], settings: Settings = _POLICY_ALONE, refusals: Refusals = RAISED) -> None:
    """Refuses (``EnvRefused``) what may not be set, naming the variable's place in ``spec.engine.env``."""
    policy = _policy()
    seen: set[str] = set()
    for index, given in enumerate(variables):
        name = given.name
        place = f"spec.engine.env[{index}].name"
        problem, remedy = "", "leave it out"
        if name in seen:
            problem = f"{name} is given twice"
        elif name in policy.final_variables:
            problem = f"{name} may not be set: {policy.final_variables[name]}"
        elif name not in policy.variables | set(settings.allow_env):
            problem = f"{name} may not be set: only variables that tune the engine are allowed"
            remedy = f"leave it out, or have the installation allow it ({variable('allow_env')})"
        elif _SECRET.fullmatch(name) and given.value_from is None:
            problem, remedy = f"{name} is a secret by its name", "use valueFrom.secretKeyRef, not a value"
        if problem:
            refusals.add(Refused(Reason.ENV_REFUSED, f"{place}: {problem}", field=place, remedy=remedy))
        seen.add(name)


def check_allowed(settings: Settings) -> None:
    """Refuses settings that allow what no installation may.

    Raises:
        ValueError: naming the setting, and what is wrong with it.
    """
    policy = _policy()
    for given in settings.allow_flags:
        name = _meant(given)
        shown = f"{variable('allow_flags')}: {given if name == given else f'{given}, which is {name},'}"
        group = policy.refused.get(name, _NOT_LOOKED_AT)
        if name in policy.fields:
            group = _Group(f"it is what {policy.fields[name]} sets", None)
        if group.setting is None:
            raise ValueError(f"{shown} can't be allowed: {group.because}")
        if group.setting != "allow_flags":
            raise ValueError(f"{shown} is allowed by {variable(group.setting)}=true instead")
        if name != given:
            raise ValueError(f"{shown} is allowed by that name alone; write {name}")
    for name in settings.allow_env:
        if name in policy.final_variables:
            raise ValueError(f"{variable('allow_env')}: {name} can't be allowed: {policy.final_variables[name]}")


def _meant(flag: str) -> str:
    """The option that is allowed where an installation names it so: also by a short form, or the one that turns it off.

    Raises:
        ValueError: no engine that is known has such an option.
    """
    options = {string: option.name for described in _described().values() for string, option in described.items()}
    for string in (flag, flag[1:], _switch(flag)):
        if string in options:
            return options[string]
    near = difflib.get_close_matches(flag, options, 1, cutoff=0.8)
    hint = releases.removed(_switch(flag), releases.newest()) or (
        f"did you mean {near[0]}?" if near else "leave it out"
    )
    raise ValueError(f"{variable('allow_flags')}: {flag} is no option of the engines that are known; {hint}")


@lru_cache(maxsize=32)
def options_of(version: str) -> Mapping[str, Option]:
    """The options of an engine's release by every way to spell them, those of them that can be parsed.

    They are described as of the nearest older release whose parser was written down, or else of the oldest one. What
    their values may be is known of that release alone: of another one only their types are.
    """
    described = _described()
    wanted = releases.parsed(version)
    nearest = max((release for release in described if release <= wanted), default=min(described))
    known = nearest[:2] == wanted[:2]
    return {
        string: option if known else replace(option, choices=(), keys=(), names=(), bounds={})
        for string, option in described[nearest].items()
        if has_option(version, option.name if string.startswith("--no-") else string)
    }


def has_option(version: str, name: str) -> bool:
    """Whether an engine's release has an option."""
    return releases.available("flag", name, version) is True


_SERVED_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,252}$"
_FLAG_OF = {
    "tensor": "--tensor-parallel-size",
    "pipeline": "--pipeline-parallel-size",
    "port": "--port",
    "served_names": "--served-model-name",
    "model": "--model",
    "revision": "--revision",
    "max_model_len": "--max-model-len",
}
_SPECULATIVE_FLAGS = {
    "--spec-method": "method",
    "--spec-model": "model",
    "--spec-tokens": "num_speculative_tokens",
}


@cache
def _described() -> Mapping[releases.Version, Mapping[str, Option]]:
    described: dict[releases.Version, Mapping[str, Option]] = {}
    for file in (resources.files(__package__) / "engine_flags").iterdir():
        if not re.fullmatch(r"[0-9.]+\.json", file.name):
            continue
        data = json.loads(file.read_text())
        by_string: dict[str, Option] = {}
        for name, entry in data["options"].items():
            option = Option(
                name=name,
                strings=tuple(entry["strings"]),
                values=entry["values"],
                type=entry.get("type", "str"),
                optional=entry.get("optional", False),
                choices=tuple(entry.get("choices", ())),
                keys=tuple(entry.get("keys", ())),
                names=tuple(entry.get("names", ())),
                bounds=entry.get("bounds", {}),
            )
            by_string |= dict.fromkeys(option.strings, option)
        described[releases.parsed(data["release"])] = by_string
    return described


@cache
def _policy() -> _Policy:
    data = json.loads((resources.files(__package__) / "engine_flags" / "policy.json").read_text())
    return _Policy(
        fields=data["field"],
        refused={
            option: _Group(group["because"], None if group.get("final") else group.get("setting", "allow_flags"))
            for group in data["refused"]
            for option in group["options"]
        },
        allowed=frozenset(data["allowed"]),
        values={option: tuple(values) for option, values in data["values"].items()},
        keys={option: frozenset(tuple(key.split(".")) for key in keys) for option, keys in data["keys"].items()},
        any_key=frozenset(option for group in data["any_key"] for option in group["options"]),
        variables=frozenset(data["environment"]["allowed"]),
        final_variables={
            name: group["because"] for group in data["environment"]["final"] for name in group["variables"]
        },
    )


def _refusal(index: int, message: str, reason: Reason = Reason.ARGS_INVALID, remedy: str = "") -> Refused:
    place = f"spec.engine.args[{index}]"
    return Refused(reason, f"{place}: {message}", field=place, remedy=remedy)


def _argument(args: Sequence[str], index: int, options: Mapping[str, Option], version: str) -> Argument:
    token = args[index]
    if not token.startswith("-"):
        raise _refusal(index, _why_stray(args, index))
    if token.startswith("-O"):
        return _optimization_level(args, index)
    spelled, equals, value = token.partition("=")
    base, dot, path = spelled.partition(".")
    if base.startswith("--"):
        base = base.replace("_", "-")
    option = options.get(base)
    if option is None:
        _refuse_retired(index, base, version)
        raise _refusal(index, _why_unknown(token, base, options, version))
    values: tuple[str, ...]
    if dot:
        values = (value,) if equals else (_dotted_value(args, index),)
        _check_path(index, option, base, path)
        taken = 1 if equals else 2
    else:
        values = _values(args, index, option, base, value if equals else None)
        taken = 1 if equals else 1 + len(values)
    return Argument(index, option.name, base, path if dot else None, values, tuple(args[index : index + taken]))


def _next_option(args: Sequence[str], index: int) -> int:
    """The place of the next element that begins an option: what is between belongs to the one that is refused."""
    for place in range(index + 1, len(args)):
        if args[place].startswith("-") and not _NEGATIVE_INTEGER.fullmatch(args[place]):
            return place
    return len(args)


def _judged(argument: Argument, options: Mapping[str, Option], settings: Settings) -> Argument:
    """The argument, if the engine would take its values, and a resource may set them."""
    option = options[argument.option if argument.option in options else argument.name]
    for text in argument.values:
        _checked(argument, option, text)
    _permit(argument, option, settings)
    return argument


def _why_stray(args: Sequence[str], index: int) -> str:
    if index == 0 and (args[0] == "vllm" or args[0].startswith("vllm ")):
        return "the arguments start after `vllm serve MODEL`; the model is spec.model.uri"
    if index == 0:
        return f"{quoted(args[0])} is not an option; the model is spec.model.uri"
    return f"{quoted(args[index])} is neither an option nor a value of the one before it"


def _refuse_retired(index: int, base: str, version: str) -> None:
    """An option that this engine has, and newer ones don't, so that there is no description to check its values by."""
    instead = releases.removed(_switch(base), releases.newest())
    if instead and has_option(version, _switch(base)):
        raise _refusal(index, f"{base} may not be set: newer engines don't have it; {instead}", Reason.FLAG_REFUSED)


def _why_unknown(token: str, base: str, options: Mapping[str, Option], version: str) -> str:
    if " " in base:
        return f"{quoted(token)} holds an option and its value; write --option=value, or two elements"
    if instead := releases.removed(_switch(base), version):
        return f"{base} is not an option of this engine any more; {instead}"
    if base in options_of(releases.newest()) and (lack := releases.lack("flag", _switch(base), version)):
        return f"{base} {lack}"
    longer = sorted(string for string in options if string.startswith(base)) if len(base) > 2 else []
    near = longer[:1] or difflib.get_close_matches(base, options, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{quoted(base)} is not an option of this engine{hint}"


def _switch(base: str) -> str:
    """The option that ``--no-`` is put before to turn it off."""
    return f"--{base.removeprefix('--no-')}" if base.startswith("--no-") else base


def _optimization_level(args: Sequence[str], index: int) -> Argument:
    """``-O3``, ``-O=3`` and ``-O 3`` stand for ``--optimization-level 3``."""
    level, tokens = args[index][2:].removeprefix("="), args[index : index + 1]
    if args[index] == "-O":
        tokens = args[index : index + 2]
        level = tokens[1] if len(tokens) > 1 else ""
    return Argument(index, "--optimization-level", "-O", None, (level,), tuple(tokens))


def _dotted_value(args: Sequence[str], index: int) -> str:
    value = args[index + 1] if index + 1 < len(args) else None
    if value is None or (value.startswith("-") and not _NEGATIVE_INTEGER.fullmatch(value)):
        raise _refusal(index, f"{quoted(args[index])} needs a value; write {args[index][:100]}=VALUE")
    return value


def _check_path(index: int, option: Option, spelled: str, path: str) -> None:
    if option.type not in _JSON_TYPES:
        raise _refusal(index, f"{spelled} takes no keys, so {quoted(spelled + '.' + path)} is not an option")
    if not all(path.removesuffix("+").split(".")):
        raise _refusal(index, f"{quoted(spelled + '.' + path)} has an empty key")


def _values(args: Sequence[str], index: int, option: Option, spelled: str, explicit: str | None) -> tuple[str, ...]:
    if option.values == 0:
        if explicit is not None:
            raise _refusal(index, f"{spelled} takes no value, not {quoted(explicit)}")
        return ()
    if explicit is not None:
        if option.values not in (1, "?", "+", "*"):
            raise _refusal(index, f"{spelled} takes {option.values} values")
        return (explicit,)
    most = option.values if isinstance(option.values, int) else 1 if option.values == "?" else len(args)
    values: list[str] = []
    for token in args[index + 1 : index + 1 + most]:
        if token.startswith("-") and not _NEGATIVE_INTEGER.fullmatch(token):
            break
        values.append(token)
    least = option.values if isinstance(option.values, int) else 1 if option.values == "+" else 0
    if len(values) < least:
        raise _refusal(index, f"{spelled} needs a value; one that starts with a dash is written {spelled}=VALUE")
    return tuple(values)


def _checked(argument: Argument, option: Option, text: str) -> None:
    """Converts a value as the engine's parser would, to see whether it can be."""
    if argument.path is None and option.optional and text in ("", "None"):
        return
    try:
        value = _converted(option.type, text) if argument.path is None else _dotted(argument)
    except (ValueError, RecursionError, OverflowError):
        what = _WHAT.get(option.type, "text")
        raise _refusal(argument.index, f"{argument.option} takes {what}, not {quoted(text)}") from None
    if option.choices and str(value) not in option.choices:
        raise _refusal(argument.index, f"{argument.option} is one of {', '.join(option.choices)}, not {quoted(text)}")
    if option.names and text.lower() not in option.names:
        near = difflib.get_close_matches(text.lower(), option.names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise _refusal(argument.index, f"{argument.option} knows no {quoted(text)}{hint}")
    for bound, limit in option.bounds.items():
        words, holds = _BOUNDS[bound]
        if isinstance(value, int | float) and not holds(value, limit):
            raise _refusal(argument.index, f"{argument.option} must be {words} {limit:g}, not {quoted(text)}")
    for key in value if option.keys else ():
        if key not in option.keys:
            near = difflib.get_close_matches(key, option.keys, 1)
            hint = f"; did you mean {near[0]}?" if near else f", only {', '.join(option.keys)}"
            raise _refusal(argument.index, f"{argument.option} has no key {quoted(key)}{hint}")


def _converted(kind: str, text: str) -> Any:
    match kind:
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "human_int":
            return human_integer(text)
        case "human_int_or_auto":
            return -1 if text.strip().lower() in ("auto", "-1") else human_integer(text)
        case "folded":
            return text.lower().replace("-", "_")
        case "json":
            return _loaded(text)
        case "json_object":
            return _object(_loaded(_with_human_integers(text)))
        case "str_or_json":
            return _loaded(text) if re.fullmatch(r"(?s)\s*\{.*\}\s*", text) else text
    return text


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the one kind of failure that converting has
    return value


def human_integer(text: str) -> int:
    """``4096``, ``4k`` (4,000), ``4K`` (4,096), ``25.6k``; k, m, g and t. A fraction goes with the small letters only.

    Raises:
        ValueError, OverflowError: it is none of these, or doesn't fit in 64 bits.
    """
    text = text.strip()
    if not (match := _HUMAN_INTEGER.fullmatch(text)):
        number = int(text)
    elif match[2] in _BINARY:
        number = int(match[1]) * _BINARY[match[2]]
    else:
        number = int(float(match[1]) * _DECIMAL[match[2]])
    if not -_LARGEST <= number < _LARGEST:
        raise OverflowError("more than 64 bits")
    return number


def _loaded(text: str) -> Any:
    """JSON, no deeper than any option's.

    Raises:
        ValueError, RecursionError: it is none, or too deep.
    """
    value = json.loads(text)
    level = [value]
    for _ in range(_DEEPEST):
        if not level:
            return value
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    raise ValueError("too deep")


def _with_human_integers(text: str) -> str:
    """JSON in which bare ``80m`` or ``1K`` stand for numbers, with the numbers."""
    parts = _QUOTED.split(text)
    parts[::2] = [
        re.sub(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b", lambda match: str(human_integer(match.group())), part)
        for part in parts[::2]
    ]
    return "".join(parts)


def _dotted(argument: Argument) -> dict[str, Any]:
    """The nested object that a dotted key stands for: ``x.a.b=1`` is ``{"a": {"b": 1}}``, ``x.a+=1,2`` a list.

    Raises:
        ValueError, OverflowError, RecursionError: the value is a number or an object that Python can't hold.
    """
    path, text = argument.path or "", argument.values[0]
    if path.endswith("+"):
        value: Any = text.split(",")
    else:
        try:
            value = _loaded(text)
        except json.JSONDecodeError:
            try:
                value = human_integer(text)
            except ValueError:
                value = text
    keys = path.removesuffix("+").split(".")
    if len(keys) > _DEEPEST:
        raise ValueError("too deep")
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            known += value
        else:
            into[key] = value


#: The engine opens what may be a path, whatever is there (the container's secrets are in /proc), and prompts show it.
#: What has a brace or a line's end names no file. Source: vllm/renderers/chat_utils.py.
_TEMPLATE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_./-]+\.jinja|(?s:.*[{}\n].*)")


def _check_template(argument: Argument) -> None:
    for text in argument.values if argument.name == "--chat-template" else ():
        if not _TEMPLATE.fullmatch(text):
            message = f"{argument.option} may be a template itself, or a file named *.jinja, not {quoted(text)}"
            raise _refusal(argument.index, message, Reason.FLAG_REFUSED)


def _permit(argument: Argument, option: Option, settings: Settings) -> None:
    policy = _policy()
    if argument.name not in policy.allowed and argument.name not in policy.fields:
        group = policy.refused.get(argument.name, _NOT_LOOKED_AT)
        if not _allows(settings, group.setting, argument.name):
            remedy = "leave it out"
            if group.setting:
                remedy += f", or have the installation allow it ({variable(group.setting)})"
            message = f"{argument.option} may not be set: {group.because}"
            raise _refusal(argument.index, message, Reason.FLAG_REFUSED, remedy)
    if values := policy.values.get(argument.name):
        for text in argument.values:
            if text not in values:
                message = f"{argument.option} may be one of {', '.join(values)}, not {quoted(text)}"
                raise _refusal(argument.index, message, Reason.FLAG_REFUSED)
    if argument.name in policy.allowed and option.type in _JSON_TYPES and argument.name not in policy.any_key:
        _check_keys(argument, option, policy.keys.get(argument.name, frozenset()))
    _check_template(argument)


def _check_keys(argument: Argument, option: Option, allowed: frozenset[tuple[str, ...]]) -> None:
    text = argument.values[0]
    if argument.path is None and option.optional and text in ("", "None"):
        return
    given = _converted(option.type, text) if argument.path is None else _dotted(argument)
    if not isinstance(given, dict):
        if allowed:
            raise _refusal(argument.index, f"{argument.option} takes a JSON object, not {quoted(text)}")
        return
    for path in _paths(given):
        if not any(path[: len(known)] == known for known in allowed):
            names = textwrap.shorten(", ".join(sorted(".".join(known) for known in allowed)), 500, placeholder=" ...")
            message = f"{argument.option} may not set {quoted('.'.join(path))}; it may set {names or 'no keys'}"
            raise _refusal(argument.index, message, Reason.FLAG_REFUSED)


def _paths(given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys that lead to each value of an object, through the objects in it."""
    for key, value in given.items():
        if isinstance(value, dict) and value:
            yield from ((key, *path) for path in _paths(value))
        else:
            yield (key,)


def _allows(settings: Settings, setting: str | None, flag: str) -> bool:
    if setting == "allow_flags":
        return flag in settings.allow_flags
    return setting is not None and bool(getattr(settings, setting))


def _unmixed(arguments: Iterable[Argument], refusals: Refusals) -> tuple[Argument, ...]:
    """The engine moves dotted keys to the end, as one object for each spelling, which replaces what else was given."""
    first: dict[str, Argument] = {}
    kept: list[Argument] = []
    for argument in arguments:
        before = first.setdefault(argument.name, argument)
        dotted = (before.path is not None, argument.path is not None)
        if any(dotted) and (not all(dotted) or before.option != argument.option):
            message = (
                f"{argument.tokens[0][:100]} and {before.tokens[0][:100]} don't add up in the engine, one replaces "
                "the other; write one object, or dotted keys of one spelling"
            )
            refusals.add(_refusal(argument.index, message))
        else:
            kept.append(argument)
    return tuple(kept)


def _whole(argument: Argument, least: int, most: int) -> int:
    number = int(argument.values[0])
    if not least <= number <= most:
        raise _refusal(argument.index, f"{argument.option} must be {least} to {most}, not {argument.values[0][:32]}")
    return number


def _one_rank(argument: Argument) -> None:
    if int(argument.values[0]) != 1:
        message = f"{argument.option} must be 1, not {argument.values[0][:32]}: one canary proves one rank only"
        raise _refusal(argument.index, message, Reason.DATA_PARALLEL_UNSUPPORTED, "use spec.replicas")


def _matching(argument: Argument, pattern: str) -> tuple[str, ...]:
    for text in argument.values:
        if not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) or text == "None":
            raise _refusal(argument.index, f"{argument.option} may not be {quoted(text)}; it must match {pattern}")
    return argument.values


def _max_model_len(argument: Argument) -> int | None:
    """None where it is left to the engine."""
    length: int = _converted("human_int_or_auto", argument.values[0])
    if length == -1:
        return None
    if length < 1:
        raise _refusal(argument.index, f"{argument.option} must be positive, not {length}")
    return length


def _speculative(last: Mapping[str, Sequence[Argument]]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for argument in last.get("--speculative-config", ()):
        if argument.path is not None:
            _merge(keys, _dotted(argument))
        elif argument.values[0] not in ("", "None"):
            given = json.loads(argument.values[0])
            if not isinstance(given, dict):
                raise _refusal(
                    argument.index, f"{argument.option} takes a JSON object, not {quoted(argument.values[0])}"
                )
            keys = given
    keys = {key.replace("-", "_"): value for key, value in keys.items()}
    for flag, key in _SPECULATIVE_FLAGS.items():
        if not (given := last.get(flag)) or given[-1].values[0] in ("", "None"):
            continue
        argument = given[-1]
        if key in keys:
            raise _refusal(argument.index, f"{flag} and --speculative-config both set {key}; the engine takes one")
        keys[key] = int(argument.values[0]) if key == "num_speculative_tokens" else argument.values[0]
    return keys
