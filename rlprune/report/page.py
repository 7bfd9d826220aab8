"""`report.html`: one self-contained page per run."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from rlprune.report.picture import result_figure, training_figure
from rlprune.report.result import Result
from rlprune.report.terminal import columns_of, rows_of, warnings_of

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #d5dbe1;
text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}
.warning{background:#fdecea;padding:.5em 1em;border-left:4px solid #c0392b}
"""


def report_page(results: Sequence[Result]) -> str:
    """Return the HTML of a report over one or more runs."""
    return page_of("".join(_section(result) for result in results))


def page_of(body: str) -> str:
    """Return a self-contained page around HTML."""
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>rlprune report</title>"
        f"<style>{_STYLE}</style><h1>rlprune report</h1>{body}</html>\n"
    )


def _section(result: Result) -> str:
    parts = [f"<h2>{escape(result.command)}: {escape(result.model)} on {escape(result.data)}</h2>"]
    parts += [f"<p class='warning'>{escape(text)}</p>" for text in warnings_of(result)]
    search, device = result.search, result.device
    parts.append(
        f"<p>{escape(device.name)} ({device.type}), {device.threads} threads, torch "
        f"{escape(device.torch)}. Method {escape(search.method)}: {search.profile_evaluations} "
        f"profile evaluations, {search.evaluations} evaluations, {search.seconds:.1f} s.</p>"
    )
    if result.dense is not None:
        parts.append(table_html(columns_of(result), rows_of(result)))
        parts.append(image_html(result_figure(result)))
    if result.training is not None:
        parts.append(image_html(training_figure(result)))
    if result.left_out:
        rows = [(item.name, item.reason) for item in result.left_out]
        parts.append(table_html(("left out", "why"), rows))
    return "".join(parts)


def table_html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def image_html(figure: Figure) -> str:
    """Return a figure as a picture inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<p><img alt='figure' src='data:image/png;base64,{data}'></p>"
