"""Documents -> what a person sees of them: trees, tables, bars. Nothing but this module, and ``terminal``, knows rich,
and both are asked for it only when something is shown.

Words from outside are never markup, and never more than a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from speculator_operator.core.words import printable

GOOD, BAD, DOUBTFUL, DIM, STRONG = "green", "bold red", "yellow", "dim", "bold"

#: Of fewer, a rate says little, and is not judged.
FEW_DRAFTS = 100

BAR_WIDTH = 16
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"

Document = dict[str, Any]


def text(words: object, style: str = "") -> Text:
    return Text(printable(str(words)), style=style)


def _line(*parts: str | Text) -> Text:
    return Text(" ").join(part if isinstance(part, Text) else text(part) for part in parts if part)


def _columns(rows: Iterable[Sequence[str | Text]], head: Sequence[str] = ()) -> Table:
    """Rows whose cells are aligned; the last one wraps, where there is an edge."""
    rows = list(rows)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(head), header_style=DIM, pad_edge=False)
    width = len(head) or max(map(len, rows), default=0)
    for index in range(width):
        table.add_column(head[index] if head else "", no_wrap=index < width - 1, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in row))
    return table


def age(then: str | None, now: str) -> str:
    """How long ago, as kubectl says it: 45s, 12m, 5h, 3d."""
    try:
        seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(then or "")).total_seconds()
    except (ValueError, TypeError):
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def bar(rate: float, style: str, console: Console) -> Text:
    """A rate from 0 to 1 as a bar; nothing where there is no terminal to draw on."""
    if not _draws(console):
        return Text()
    eighths = round(min(max(rate, 0.0), 1.0) * BAR_WIDTH * 8)
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(drawn.ljust(BAR_WIDTH), style=style)


def sparks(rates: Sequence[str], drafts: int, console: Console) -> Text:
    """Rates as one letter each, or as numbers."""
    if not rates:
        return text("-", DIM)
    if not _draws(console):
        return text(",".join(rates))
    drawn = Text()
    for rate in map(float, rates):
        drawn.append(_LEVELS[min(int(rate * len(_LEVELS)), len(_LEVELS) - 1)], style=_rated(rate, drafts))
    return drawn


def _draws(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and "utf" in console.encoding.lower()


def _rated(rate: float, drafts: int) -> str:
    if drafts < FEW_DRAFTS:
        return DIM
    return GOOD if rate >= 0.5 else DOUBTFUL if rate >= 0.2 else BAD


def _judged(status: str, *, good: str = "True") -> str:
    return GOOD if status == good else DOUBTFUL if status == "Unknown" else BAD


# status


def status(document: Document, console: Console) -> RenderableType:
    tree = Tree(_heading(document), guide_style=DIM)
    tree.add(_conditions(document))
    _add(tree, "Findings", map(_finding, document["findings"]))
    recipe, engine, now = document["recipe"], document["engine"], document["at"]
    if recipe:
        _add(
            tree,
            _recipe(recipe),
            [_columns((it["field"], it["value"], text(it["source"], DIM)) for it in recipe["sources"])],
        )
    models = [
        (
            role,
            text(identity["uri"], STRONG),
            f"@ {identity['revision']}" if identity.get("revision") else text("not pinned", DIM),
        )
        for role, identity in document["models"].items()
        if identity
    ]
    _add(tree, "Models", [_columns(models)] if models else [])
    if engine:
        shape = f"tensor {engine['tensor']} x pipeline {engine['pipeline']} = {_count(engine['gpus'], 'GPU')} a pod"
        branch = tree.add(_line(Text("Engine", STRONG), f"vLLM {engine['version']},", shape))
        branch.add(_columns([("image", engine["image"] or "-"), ("memory", engine["memory"] or "not known")]))
    _add(tree, Text("Pods", STRONG) if document["pods"] else text("Pods: none"), _pods(document))
    if recipe and not recipe["off"]:
        _add(tree, *_acceptance(document, console))
    events = document["events"]
    if events is None:
        tree.add(text("Events: you may not list events.events.k8s.io here", DIM))
    else:
        shown = [_event(event, now) for event in reversed(events)]
        _add(
            tree,
            Text("Events", STRONG) if shown else text("Events: none of late", DIM),
            [_columns(shown)] if shown else [],
        )
    return tree


def _add(tree: Tree, title: str | Text, parts: Iterable[RenderableType]) -> None:
    """A branch, if there is anything to hang on it, or to be said by its title alone."""
    parts = list(parts)
    if parts or isinstance(title, Text):
        branch = tree.add(title if isinstance(title, Text) else Text(title, STRONG))
        for part in parts:
            branch.add(part)


def _heading(document: Document) -> Text:
    ready, stalled = (document["conditions"][it] for it in ("Ready", "Stalled"))
    replicas = document["replicas"]
    word, style = "READY", GOOD
    if stalled["status"] == "True":
        word, style = "STALLED", BAD
    elif document["suspended"]:
        word, style = "SUSPENDED", DOUBTFUL
    elif ready["status"] != "True":
        word, style = "NOT READY", DOUBTFUL
    behind = "" if document["current"] else text("(the operator has not seen the newest change yet)", DOUBTFUL)
    pods = f"{replicas['ready']} of {_count(replicas['wanted'], 'pod')} ready"
    name = f"{document['namespace']}/{document['name']}"
    return _line(
        text(name, STRONG),
        Text(word, f"bold {style.removeprefix('bold ')}"),
        pods,
        text(document["url"] or "", DIM),
        behind,
    )


def _conditions(document: Document) -> Table:
    """A message is told once, and one that a finding tells isn't told here: most of them are the same."""
    rows = []
    told = {finding["evidence"] for finding in document["findings"]}
    for type_, condition in document["conditions"].items():
        good = "False" if type_ in ("Stalled", "Reconciling") else "True"
        style = _judged(condition["status"], good=good)
        if type_ == "SpeculationActive" and condition["reason"] in ("RegularModel", "Disabled"):
            style = DIM
        message = "" if condition["message"] in told else condition["message"]
        told.add(message)
        said = f"{condition['reason'] or 'nothing said yet'}: {message}".removesuffix(": ")
        rows.append((type_, text(condition["status"], style), text(age(condition["since"], document["at"]), DIM), said))
    return _columns(rows)


def _finding(finding: Document) -> RenderableType:
    style = BAD if finding["severity"] == "Error" else DOUBTFUL
    parts: list[RenderableType] = [
        _line(text(finding["severity"], style), text(finding["reason"], STRONG), finding.get("field") or "")
    ]
    parts.append(Padding(text(finding["evidence"]), (0, 0, 0, 2)))
    if finding["remedy"]:
        parts.append(Padding(_line(Text("->", GOOD), finding["remedy"]), (0, 0, 0, 2)))
    return Group(*parts)


def _recipe(recipe: Document) -> Text:
    if recipe["off"]:
        return _line(Text("Recipe", STRONG), f"none: {recipe['off']}")
    tokens = _count(recipe["tokens"], "token") if recipe["tokens"] else ""
    return _line(
        Text("Recipe", STRONG), f"{recipe['method']},", tokens, "a step, verification", str(recipe["verification"])
    )


def _pods(document: Document) -> list[RenderableType]:
    pods = document["pods"]
    if not pods:
        return []
    head = ("NAME", "PHASE", "READY", "RESTARTS", "NODE", "AGE", "REVISION", "PROOF")
    rows = [
        (
            pod["name"],
            text(pod["phase"], GOOD if pod["phase"] == "Running" else DOUBTFUL),
            text("yes", GOOD) if pod["ready"] else text("no", BAD),
            text(pod["restarts"], DOUBTFUL if pod["restarts"] else ""),
            pod["node"] or "-",
            age(pod["created"], document["at"]),
            "current" if pod["current"] else text(f"older ({pod['revision']})", DOUBTFUL),
            _proof(pod),
        )
        for pod in pods
    ]
    why: dict[str, list[str]] = {}  # many pods have the same trouble
    for pod in pods:
        if said := pod["trouble"] or pod["proof"]["why"]:
            why.setdefault(said, []).append(pod["name"])
    return [_columns(rows, head), *(text(f"{', '.join(names)}: {said}", DOUBTFUL) for said, names in why.items())]


def _proof(pod: Document) -> Text:
    proof = pod["proof"]
    if not pod["ready"]:
        return text("not ready", BAD if pod["trouble"] else DIM)
    if proof["drafting"] is None:
        return text("not known", DOUBTFUL)
    if not proof["drafting"]:
        return text("nothing drafted", BAD)
    if proof["source"] == "engine":
        return text(f"{proof['drafts']:,} drafts verified", GOOD)
    return text("drafting, status says", GOOD)


def _acceptance(document: Document, console: Console) -> tuple[Text, list[RenderableType]]:
    acceptance, title = document["acceptance"], Text("Acceptance", STRONG)
    if not acceptance:
        return _line(title, text("nothing was drafted of late, but for canaries", DIM)), []
    rate, drafts = float(acceptance.get("rate") or 0), acceptance["drafts"]
    counted = f"{drafts:,} drafts of {_count(acceptance['pods'], 'pod')}"
    few = ": too few to judge" if drafts < FEW_DRAFTS else ""
    said = _line(
        title,
        f"length {acceptance.get('length')},",
        _line("rate", text(acceptance.get("rate"), _rated(rate, drafts))),
        text(f"({counted} in {acceptance['windowSeconds']} s{few})", DIM),
    )
    rows = [
        (f"position {index}", text(at, style := _rated(float(at), drafts)), bar(float(at), style, console))
        for index, at in enumerate(acceptance.get("ratePerPosition") or [])
    ]
    return said, [_columns(rows)] if rows else []


def _event(event: Document, now: str) -> tuple[str | Text, ...]:
    style = DOUBTFUL if event["type"] == "Warning" else DIM
    return (
        age(event["at"], now),
        text(event["type"], style),
        event["reason"] or "",
        text(event["object"], DIM),
        event["note"],
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# top


def top(document: Document, console: Console) -> RenderableType:
    rows, everywhere = document["resources"], document["namespace"] is None
    if not rows:
        where = "any namespace" if everywhere else f"the namespace {document['namespace']}"
        return text(f"There is no SpeculatorDeployment in {where}.")
    head = ["NAMESPACE"] if everywhere else []
    head += ["NAME", "READY", "SPECULATION", "METHOD", "TOKENS", "ACCEPTED", "LENGTH"]
    head += ["PER POSITION", "REPLICAS", "GPUS", "WHY"]
    return _columns([[*([row["namespace"]] if everywhere else []), *_row(row, console)] for row in rows], head)


def _row(row: Document, console: Console) -> list[str | Text]:
    plain = row["speculationReason"] in ("RegularModel", "Disabled")
    drafts = row["drafts"] or 0
    few = f" ({_count(drafts, 'draft')})" if drafts < FEW_DRAFTS else ""
    rate = text(f"{row['rate']}{few}", _rated(float(row["rate"]), drafts)) if row["rate"] else text("-", DIM)
    return [
        text(row["name"], STRONG),
        text(row["ready"], _judged(row["ready"])),
        text(row["speculation"], DIM if plain else _judged(row["speculation"])),
        row["method"] or "-",
        _or_dash(row["tokens"]),
        rate,
        row["length"] or "-",
        sparks(row["ratePerPosition"], drafts, console),
        f"{row['readyReplicas']}/{row['replicas']}",
        _or_dash(row["gpus"]),
        _why(row),
    ]


def _why(row: Document) -> str:
    """The reason of what isn't well; of two, the one that comes first."""
    for condition in ("ready", "speculation"):
        if row[condition] != "True":
            return row[f"{condition}Reason"] or ""
    return ""


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


# verify


def verification(document: Document, console: Console) -> RenderableType:
    del console
    name = f"{document['namespace']}/{document['name']}"
    verdict = {
        True: _line(text(name, STRONG), text("every ready pod has drafted", GOOD)),
        False: _line(text(name, STRONG), text("not every ready pod has drafted", BAD)),
        None: _line(
            text(name, STRONG),
            text("not every pod could be asked" if document["pods"] else "no pod is ready", DOUBTFUL),
        ),
    }[document["drafted"]]
    parts: list[RenderableType] = [verdict]
    if document["pods"]:
        head = ("POD", "DRAFTED", "DRAFTS", "DRAFT TOKENS", "ACCEPTED BEFORE", "ACCEPTED AFTER", "")
        parts.append(_columns(map(_verified, document["pods"]), head))
    if document["notReady"]:
        parts.append(text(f"Not ready, and not asked: {', '.join(document['notReady'])}", DOUBTFUL))
    parts.append(text(document["caveat"], DIM))
    return Group(*parts)


def _verified(pod: Document) -> tuple[str | Text, ...]:
    drafted = {True: text("yes", GOOD), False: text("no", BAD), None: text("unknown", DOUBTFUL)}[pod["drafted"]]
    asked = pod["drafted"] is not None
    return (
        pod["pod"],
        drafted,
        str(pod["drafts"]) if asked else "-",
        str(pod["draftTokens"]) if asked else "-",
        f"{pod['before']['acceptedTokens']:,} of {pod['before']['draftTokens']:,}" if asked else "-",
        f"{pod['after']['acceptedTokens']:,} of {pod['after']['draftTokens']:,}" if asked else "-",
        text(pod["problem"], DOUBTFUL),
    )


# diff


def differences(documents: list[Document], console: Console) -> RenderableType:
    del console
    return Group(*map(_difference, documents))


def _difference(document: Document) -> RenderableType:
    replicas, pods = document["replicas"], document["pods"]
    said = {
        "none": text("nothing would change", GOOD),
        "changed": text("would change", DOUBTFUL),
        "created": text("would be created", DOUBTFUL),
    }[document["change"]]
    tree = Tree(_line(text(f"{document['namespace']}/{document['name']}", STRONG), said), guide_style=DIM)
    fields = [(it["path"], _value(it["before"]), "->", _value(it["after"])) for it in document["fields"]]
    if document["change"] == "changed":
        _add(tree, "Fields", [_columns(fields)])
    if replicas["before"] != replicas["after"]:
        before = "" if replicas["before"] is None else f"{replicas['before']} -> "
        tree.add(_line(Text("Replicas", STRONG), f"{before}{replicas['after']}"))
    tree.add(_line(Text("Pods", STRONG), _rolling(document)))
    lines = [
        text(f"{it['change']} {it['word']}", GOOD if it["change"] == "+" else BAD) for it in document["command"] or []
    ]
    if document["command"] is None and not document["refused"]:
        tree.add(_line(Text("Command", STRONG), text("not known", DOUBTFUL), text(f"({document['unknown']})", DIM)))
    elif lines:
        _add(tree, "Command", lines)
    elif pods["revision"]["before"] and not document["refused"]:
        tree.add(_line(Text("Command", STRONG), "the same"))
    _add(tree, "Findings", map(_finding, document["findings"]))
    return tree


def _value(value: object) -> Text:
    return text("nothing", DIM) if value is None else text(value)


def _rolling(document: Document) -> Text:
    pods, replicas = document["pods"], document["replicas"]
    revision = pods["revision"]
    if document["refused"]:
        return _line(
            text("none starts or restarts:", BAD), "the operator would refuse this, and leave alone what serves"
        )
    if pods["roll"]:
        how = "all end first" if pods["strategy"] == "Recreate" else "old ones serve until new ones are ready"
        return _line(text("roll", DOUBTFUL), f"{revision['before']} -> {revision['after']}; {how}")
    if revision["before"] == revision["after"]:
        return text("none restarts", GOOD)
    return _line(f"{_count(replicas['after'], 'pod')} of", revision["after"])


# explain


def explanations(document: list[Document], console: Console) -> RenderableType:
    del console
    if len(document) > 2:
        return _columns(
            [(it["kind"], text(it["name"], STRONG), it["meaning"]) for it in document], ("KIND", "NAME", "MEANING")
        )
    parts: list[RenderableType] = []
    for it in document:
        parts.append(_line(text(it["name"], STRONG), text(f"({it['kind']})", DIM)))
        parts.append(Padding(text(it["meaning"]), (0, 0, 0, 2)))
        if it["remedy"]:
            parts.append(Padding(_line(Text("->", GOOD), it["remedy"]), (0, 0, 0, 2)))
    return Group(*parts)
