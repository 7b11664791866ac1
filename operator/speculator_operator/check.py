"""``check``: everything that can be said of resources in files before any of them is applied."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import engine_process, offline
from .api import Finding, Reason, Resolved, Severity, SpeculatorDeployment
from .core.checkpoint import Snapshot
from .core.config_file import CONFIG
from .core.words import printable
from .engine_process import Answer, Question
from .errors import Refusals, Refused
from .offline import NotRead
from .reference import Reference
from .resolution import Read, assess
from .settings import Settings

#: How a resource's models are read.
ReadFor = Callable[[SpeculatorDeployment], Read]


@dataclass(frozen=True)
class Report:
    """What is said of one resource, or of a file that holds none.

    ``undetermined`` is why something couldn't be checked, ``unchecked`` why something wasn't to be. ``question`` is
    what the engine can be asked.
    """

    file: str
    namespace: str | None
    name: str | None
    findings: tuple[Finding, ...]
    resolved: Resolved | None = None
    undetermined: str | None = None
    unchecked: str | None = None
    question: Question | None = None

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """The report as JSON. A finding has severity, reason, field (or null), evidence and remedy (or an empty text);
        ``resolved`` is as in the resource's status, null where there is an error or something wasn't read."""
        return {
            "file": self.file,
            "namespace": self.namespace,
            "name": self.name,
            "findings": [finding.model_dump(mode="json", by_alias=True) for finding in self.findings],
            "undetermined": self.undetermined,
            "unchecked": self.unchecked,
            "resolved": self.resolved.model_dump(mode="json", by_alias=True) if self.resolved else None,
        }


async def check_file(file: str, settings: Settings, read_for: ReadFor, warn: Callable[[str], None]) -> list[Report]:
    """A report on each resource in a file (``-`` is standard input), in its order, or why there is none. ``warn`` is
    told what was left out."""
    try:
        found = offline.documents(file, warn)
    except Refused as refusal:
        return [Report(file, None, None, (Finding.refused(refusal),))]
    except OSError as error:
        return [Report(file, None, None, (), undetermined=f"{file} can't be read: {error.strerror or error}")]
    return [await _check(document, file, settings, read_for) for document in found]


async def _check(document: Any, file: str, settings: Settings, read_for: ReadFor) -> Report:
    refusals = Refusals()
    resource = refusals.attempt(offline.resource, document, file, refusals)
    unknown = tuple(map(Finding.refused, refusals.each))
    if resource is None:
        return Report(file, *_identity(document), unknown)
    configs: dict[str, Mapping[str, Any]] = {}
    read = read_for(resource)

    async def read_and_keep(reference: Reference) -> Snapshot:
        snapshot = await read(reference)
        configs[snapshot.uri] = snapshot.config
        return snapshot

    assessment = await assess(resource, settings, read_and_keep)
    waiting, resolved = assessment.waiting, None if unknown else assessment.resolved
    return Report(
        file,
        resource.namespace,
        resource.name,
        (*unknown, *assessment.findings),
        resolved=resolved,
        undetermined=str(waiting) if waiting and not isinstance(waiting, NotRead) else None,
        unchecked=waiting.message if isinstance(waiting, NotRead) else None,
        question=_question(resource, resolved, configs) if resolved else None,
    )


def _identity(document: Any) -> tuple[str | None, str | None]:
    """Namespace and name of what is no resource, as far as it has them."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    texts = [metadata.get(key) if isinstance(metadata, dict) else None for key in ("namespace", "name")]
    namespace, name = (text if isinstance(text, str) else None for text in texts)
    return namespace, name


def _question(
    resource: SpeculatorDeployment, resolved: Resolved, configs: Mapping[str, Mapping[str, Any]]
) -> Question | None:
    """What the engine is asked; nothing where it would run code of a model's repository."""
    if any(token.replace("_", "-") == "--trust-remote-code" for token in resolved.command):
        return None
    loaded = {resolved.command[2]: configs[resolved.verifier.uri]}
    if resolved.draft and resolved.speculative_config:
        loaded[resolved.speculative_config["model"]] = configs[resolved.draft.uri]
    return Question(
        command=resolved.command,
        configs=loaded,
        environment={variable.name: variable.value for variable in resource.spec.engine.env if variable.value},
    )


def ask_engine(reports: Sequence[Report], python: str) -> list[Report]:
    """The reports, with what the engine itself says of every resource that nothing else is wrong with."""
    questions = [report.question for report in reports if report.question]
    answers = iter(engine_process.ask(python, questions) if questions else ())
    return [_answered(report, next(answers)) if report.question else _unasked(report) for report in reports]


def _unasked(report: Report) -> Report:
    why = "it would run code of the model's repository" if report.resolved else "there is no command for it yet"
    return replace(report, unchecked=report.unchecked or f"the engine was not asked: {why}")


def _answered(report: Report, answer: Answer) -> Report:
    if answer.silent:
        return replace(report, undetermined=answer.silent)
    if answer.refused is None or report.resolved is None:
        return report
    here, there = answer.version, report.resolved.engine_version
    if _release(here) == _release(there):
        evidence = f"engine {here} refuses the command: {answer.refused}"
        finding = _refused_by_engine(Severity.ERROR, evidence)
        return replace(report, findings=(finding, *report.findings), resolved=None)
    evidence = (
        f"engine {here}, which is installed here, refuses the command; the resource's is {there}: {answer.refused}"
    )
    finding = _refused_by_engine(Severity.WARNING, evidence)
    return replace(report, findings=(*report.findings, finding))


def _refused_by_engine(severity: Severity, evidence: str) -> Finding:
    remedy = f"change what it names; of the models it was shown {CONFIG} alone"
    return Finding(severity=severity, reason=Reason.ENGINE_REFUSED, evidence=evidence, remedy=remedy)


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def lines(report: Report, width: int) -> Iterator[str]:
    """The report for people, wrapped to ``width`` characters."""
    name = f"{report.namespace or 'default'}/{report.name}" if report.name else "no resource"
    counts = [
        f"{count} {severity.lower()}{'s' * (count > 1)}" for severity in Severity if (count := report.count(severity))
    ]
    nothing = "undetermined" if report.undetermined else "nothing found"
    yield printable(f"{name} ({report.file}): {', '.join(counts) or nothing}")
    if report.findings:
        table = [("SEVERITY", "REASON", "FIELD")]
        table += [(finding.severity, finding.reason, finding.field or "-") for finding in report.findings]
        widths = [max(len(row[column]) for row in table) for column in (0, 1)]
        head, *rows = (f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {printable(row[2])}" for row in table)
        yield head
        for row, finding in zip(rows, report.findings, strict=True):
            yield row
            yield from _wrapped(finding.evidence, width)
            if finding.remedy:
                yield from _wrapped(f"-> {finding.remedy}", width)
    if report.undetermined:
        yield from _wrapped(f"undetermined: {report.undetermined}", width)
    if report.unchecked:
        yield from _wrapped(f"not checked: {report.unchecked}", width)
    if report.resolved:
        yield from _wrapped(f"resolved: {report.resolved.summary()}", width)


_INDENT = " " * 4


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        printable(text), width, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
    )
