"""Draws the dashboard's panels, from what Prometheus answers to their queries, about as Grafana shows them.

It is for the documentation: what a panel shows is its query's answer, and only the drawing is ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from tools.dashboard import COLUMNS, ROWS, Panel, Query

COLUMN, LINE, GAP, HEAD = 70, 36, 8, 30
WIDTH = COLUMNS * COLUMN + GAP
PALETTE = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#96d98d", "#ffcb7d")
NAMED = {"green": "#73bf69", "red": "#f2495c", "orange": "#ff9830", "blue": "#5794f2"}
PAGE, PANEL, BORDER, GRID, TEXT, FAINT = "#111217", "#181b1f", "#26292e", "#25282d", "#d5d6de", "#9496a0"
#: Of a letter, on average, as a part of the font's size.
LETTER = 0.56
#: A gap in a series is one of more than so many steps.
STEPS = 3


@dataclass(frozen=True)
class Series:
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Seconds and values; one point is an instant query's."""

    def legend(self, query: Query) -> str:
        return re.sub(r"\{\{(\w+)\}\}", lambda found: self.labels.get(found[1], ""), query.legend)


@dataclass
class Drawing:
    """``answers`` are of each panel's queries, in order; the time axis goes from ``start`` to ``end``, in seconds."""

    answers: Mapping[int, Sequence[Sequence[Series]]]
    start: float
    end: float
    step: float
    parts: list[str] = field(default_factory=list)

    def svg(self) -> str:
        height = self._rows()
        size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        font = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"
        title = "<title>The dashboard of the Speculator Operator</title>"
        page = f'<rect width="{WIDTH}" height="{height}" fill="{PAGE}"/>'
        start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{font}">'
        return "\n".join([start, title, page, *self.parts, "</svg>", ""])

    def _rows(self) -> int:
        """Draws all rows, and returns the height of it all."""
        y = GAP
        for row in ROWS:
            self._text(GAP + 4, y + 20, f"⌄  {row.title}", size=15, weight=500)
            x, y, height = 0, y + HEAD, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height * LINE, 0
                box = Box(GAP + x * COLUMN, y, panel.width * COLUMN - GAP, panel.height * LINE - GAP)
                self._panel(panel, box)
                x, height = x + panel.width, max(height, panel.height)
            y += height * LINE + GAP
        return y

    def _panel(self, panel: Panel, box: Box) -> None:
        self.parts.append(f"<g><title>{escape(panel.description)}</title>")
        self.parts.append(
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="3" fill="{PANEL}" '
            f'stroke="{BORDER}"/>'
        )
        self._text(box.x + 10, box.y + 21, panel.title, size=14, weight=500)
        inner = Box(box.x + 10, box.y + 34, box.width - 20, box.height - 42)
        answers = self.answers[id(panel)]
        {
            "stat": self._stat,
            "timeseries": self._curves,
            "state-timeline": self._states,
            "table": self._table,
        }[panel.kind](panel, answers, inner)
        self.parts.append("</g>")

    # One way to draw for each kind of panel.

    def _stat(self, panel: Panel, answers: Sequence[Sequence[Series]], box: Box) -> None:
        points = answers[0][0].points if answers[0] else []
        if not points:
            self._text(box.middle, box.y + box.height / 2, "No data", size=16, colour=FAINT, anchor="middle")
            return
        value = points[-1][1]
        said = {number: (text, colour) for number, text, colour in panel.states}
        none, some = panel.colours
        text, colour = said.get(int(value), (_said(value, panel.unit), some if value >= 1 else none))
        if not panel.states:
            top = max(y for _, y in points) or 1.0
            spark = Box(box.x - 9, box.y + box.height * 0.55, box.width + 18, box.height * 0.45 + 7)
            line = [(spark.at(self._share(x)), spark.bottom - y / top * spark.height * 0.9) for x, y in points]
            self._polygon([(line[0][0], spark.bottom), *line, (line[-1][0], spark.bottom)], NAMED[colour], 0.16)
            self._polyline(line, NAMED[colour], width=1)
        size = 38 if len(text) < 6 else 26
        self._text(box.middle, box.y + 38, text, size=size, colour=NAMED[colour], anchor="middle", weight=500)

    def _curves(self, panel: Panel, answers: Sequence[Sequence[Series]], box: Box) -> None:
        drawn = [(query, series) for query, all_ in zip(panel.queries, answers, strict=True) for series in all_]
        legends = self._legend_lines([series.legend(query) for query, series in drawn], box.width)
        plot = Box(box.x + 52, box.y + 6, box.width - 60, box.height - 34 - 18 * len(legends))
        stacks: dict[float, float] = {}
        heights: list[list[tuple[float, float, float]]] = []
        for _, series in drawn:
            line = []
            for x, y in series.points:
                under = stacks.get(x, 0.0) if panel.stacked else 0.0
                stacks[x] = under + y
                line.append((x, under, under + y))
            heights.append(line)
        top, ticks = _ticks(max((y for line in heights for _, _, y in line), default=1.0))
        for tick in ticks:
            y = plot.bottom - tick / top * plot.height
            self._rule(plot, y)
            self._text(plot.x - 8, y + 4, _said(tick, panel.unit, step=ticks[1]), size=11, colour=FAINT, anchor="end")
        self._times(plot)
        for index, ((query, _), line) in enumerate(zip(drawn, heights, strict=True)):
            colour = PALETTE[index % len(PALETTE)]
            for piece in self._pieces(line):
                upper = [(plot.at(self._share(x)), plot.bottom - y / top * plot.height) for x, _, y in piece]
                lower = [(plot.at(self._share(x)), plot.bottom - y / top * plot.height) for x, y, _ in piece]
                if not query.dashed:
                    self._polygon([*upper, *reversed(lower)], colour, 0.35 if panel.stacked else 0.07)
                self._polyline(upper, colour, dashed=query.dashed)
        self._legend(legends, box)

    def _states(self, panel: Panel, answers: Sequence[Sequence[Series]], box: Box) -> None:
        lines = sorted(
            ((series.legend(panel.queries[0]), series) for series in answers[0]), key=lambda pair: pair[0], reverse=True
        )
        said = {number: (text, NAMED[colour]) for number, text, colour in panel.states}
        left = min(max((len(name) for name, _ in lines), default=0) * 12 * LETTER + 14, box.width / 2)
        plot = Box(box.x + left, box.y + 2, box.width - left - 8, box.height - 48)
        self._times(plot)
        height = plot.height / max(len(lines), 1)
        for row, (name, series) in enumerate(lines):
            y = plot.y + row * height
            self._text(plot.x - 10, y + height / 2 + 4, name, size=12, colour=TEXT, anchor="end")
            for piece in self._pieces([(x, y_, y_) for x, y_ in series.points]):
                for state, since, until in _runs(piece, self.step):
                    x = plot.at(self._share(since))
                    width = max(plot.at(self._share(until)) - x, 1.0)
                    text, colour = said[int(state)]
                    self.parts.append(
                        f'<rect x="{x:.1f}" y="{y + height * 0.1:.1f}" width="{width:.1f}" '
                        f'height="{height * 0.8:.1f}" fill="{colour}" fill-opacity="0.8"/>'
                    )
                    if width > len(text) * 12 * LETTER + 12:
                        self._text(x + 6, y + height / 2 + 4, text, size=12, colour=PAGE)
        self._legend([[(0.0, NAMED[colour], text) for _, text, colour in panel.states]], box, spread=True)

    def _table(self, panel: Panel, answers: Sequence[Sequence[Series]], box: Box) -> None:
        """One line for each resource that any of the queries knows, as Grafana's transformation merges them."""
        names = ("namespace", "name", "method", "draft", "verifier", "engine_version")
        titles = [*(name.removesuffix("_version") for name in names), *(query.legend for query in panel.queries[1:])]
        keyed = [{(it.labels["namespace"], it.labels["name"]): it for it in series} for series in answers]
        rows: list[list[tuple[str, str]]] = []
        for key in sorted({key for answer in keyed for key in answer}):
            labels = keyed[0][key].labels if key in keyed[0] else dict(zip(names, key, strict=False))
            cells = [(labels.get(name, ""), TEXT) for name in names]
            for query, answer in zip(panel.queries[1:], keyed[1:], strict=True):
                cells.append(self._cell(query, answer[key].points[-1][1], panel.unit) if key in answer else ("", TEXT))
            rows.append(cells)
        widths = [
            max(len(text) for text in column) + 3
            for column in zip(titles, *([c[0] for c in r] for r in rows), strict=True)
        ]
        scale = box.width / sum(widths)
        x = box.x
        for column, title in enumerate(titles):
            self._text(x, box.y + 16, title, size=12, colour="#6e9fff", weight=500)
            for row, cells in enumerate(rows):
                y = box.y + 44 + row * 28
                if not column:
                    self._rule(Box(box.x, box.y, box.width, box.height), y - 19)
                text, colour = cells[column]
                self._text(x, y, text, size=12.5, colour=colour)
            x += widths[column] * scale

    def _cell(self, query: Query, value: float, unit: str) -> tuple[str, str]:
        """Its text and its colour."""
        for number, text, colour in query.states:
            if number == value:
                return text, NAMED[colour]
        if query.unit == "dateTimeFromNow":
            return f"{self.end - value / 1000:.0f} seconds ago", TEXT
        return _said(value, query.unit or unit), TEXT

    # What they are made of.

    def _share(self, time: float) -> float:
        return (time - self.start) / (self.end - self.start)

    def _pieces(self, line: Sequence[tuple[float, float, float]]) -> Iterator[list[tuple[float, float, float]]]:
        """A line in pieces without a gap."""
        piece: list[tuple[float, float, float]] = []
        for point in line:
            if piece and point[0] - piece[-1][0] > STEPS * self.step:
                yield piece
                piece = []
            piece.append(point)
        if piece:
            yield piece

    def _times(self, plot: Box) -> None:
        for tick in range(math.ceil(self.start / 60) * 60, int(self.end) + 1, 60):
            x = plot.at(self._share(tick))
            self.parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y:.1f}" y2="{plot.bottom:.1f}" stroke="{GRID}"/>'
            )
            said = datetime.fromtimestamp(tick, UTC).strftime("%H:%M")
            self._text(x, plot.bottom + 16, said, size=11, colour=FAINT, anchor="middle")

    def _legend_lines(self, names: Sequence[str], width: float) -> list[list[tuple[float, str, str]]]:
        """Where each legend is: lines of (x, colour, text)."""
        lines: list[list[tuple[float, str, str]]] = [[]]
        x = 0.0
        for index, name in enumerate(names):
            needed = len(name) * 12 * LETTER + 32
            if lines[-1] and x + needed > width:
                lines.append([])
                x = 0.0
            lines[-1].append((x, PALETTE[index % len(PALETTE)], name))
            x += needed
        return lines

    def _legend(self, lines: list[list[tuple[float, str, str]]], box: Box, *, spread: bool = False) -> None:
        for row, line in enumerate(lines):
            y = box.bottom - 18 * (len(lines) - 1 - row) - 2
            next_ = 0.0
            for x, colour, name in line:
                x_ = box.x + (next_ if spread else x)
                self.parts.append(f'<rect x="{x_:.1f}" y="{y - 6:.1f}" width="14" height="4" rx="2" fill="{colour}"/>')
                self._text(x_ + 20, y, name, size=12, colour=TEXT)
                next_ += len(name) * 12 * LETTER + 32

    def _rule(self, box: Box, y: float) -> None:
        self.parts.append(
            f'<line x1="{box.x:.1f}" x2="{box.x + box.width:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        )

    def _polyline(
        self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False, width: float = 2
    ) -> None:
        dash = ' stroke-dasharray="6 5"' if dashed else ""
        self.parts.append(
            f'<polyline points="{_joined(points)}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-linejoin="round"{dash}/>'
        )

    def _polygon(self, points: Sequence[tuple[float, float]], colour: str, opacity: float) -> None:
        self.parts.append(f'<polygon points="{_joined(points)}" fill="{colour}" fill-opacity="{opacity}"/>')

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        colour: str = TEXT,
        anchor: str = "start",
        weight: int = 400,
    ) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(text)}</text>'
        )


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    def at(self, share: float) -> float:
        return self.x + share * self.width


def _runs(piece: Sequence[tuple[float, float, float]], step: float) -> Iterator[tuple[float, float, float]]:
    """Neighbours of one value: (value, since, until)."""
    value, since = piece[0][1], piece[0][0]
    for time, state, _ in piece:
        if state != value:
            yield value, since, time
            value, since = state, time
    yield value, since, piece[-1][0] + step


def _ticks(most: float) -> tuple[float, list[float]]:
    """The top of an axis that begins at 0, and round numbers up to it: four to six of them."""
    most = most * 1.05 or 1.0
    power = 10 ** math.floor(math.log10(most / 5))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice * 5 >= most)
    return most, [step * index for index in range(int(most / step) + 1)]


def _said(value: float, unit: str, *, step: float = 0.0) -> str:
    """A number with its unit; with as many decimals as a step of the axis has, where it is on one."""
    if unit == "percentunit":
        return f"{value * 100:.0f}%"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if (step or value) < 1 else f"{value:.3g} s"
    number = f"{value:.3g}" if not value or abs(value) < 1000 else f"{value / 1000:.3g}K"
    return number + {"cps": " c/s", "reqps": " req/s"}.get(unit, "")


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
