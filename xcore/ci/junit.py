"""JUnit XML, as CI servers show it: one test case a cell, a failed score, a gate, and a value of a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from xcore.ci.verdict import Verdict
from xcore.contract.types import Outcome
from xcore.report.table import clean


def junit(suite: str, outcomes: Sequence[Outcome], score_failures: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """The run as one test suite.

    Control characters and others that XML does not allow are left out of names and messages.
    """
    cases = [_cell(suite, outcome) for outcome in outcomes]
    cases += [_case(f"{suite}.scores", failure, "failure", failure) for failure in score_failures]
    for v in verdicts:
        tag = "failure" if v.fails else "skipped" if v.status in ("missed", "noted") else ""
        cases.append(_case(f"{suite}.{v.kind}", f"{v.name} {v.rule}".strip(), tag, v.text))
    root = ET.Element("testsuite", name=clean(f"xcore {suite}"), tests=str(len(cases)), errors="0")
    for name, tag in (("failures", "failure"), ("skipped", "skipped")):
        root.set(name, str(sum(case.find(tag) is not None for case in cases)))
    root.set("time", f"{sum(o.seconds for o in outcomes):.3f}")
    root.extend(cases)
    whole = ET.Element("testsuites")
    whole.append(root)
    ET.indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(whole, encoding="unicode") + "\n"


def _cell(suite: str, outcome: Outcome) -> ET.Element:
    cell = outcome.cell
    name = f"{cell.label} {cell.cls} {cell.classifier.text} {cell.data.text} seed {cell.seed}"
    tag = {"failed": "failure", "skipped": "skipped"}.get(outcome.status, "")
    case = _case(f"{suite}.cells", name, tag, outcome.reason)
    case.set("time", f"{outcome.seconds:.3f}")
    if tag == "failure" and outcome.record:
        case[0].text = f"explanations/{clean(outcome.record)}/record.json holds the traceback"
    return case


def _case(classname: str, name: str, tag: str, message: str) -> ET.Element:
    case = ET.Element("testcase", classname=clean(classname), name=clean(name))
    if tag:
        ET.SubElement(case, tag, message=clean(message) or "no reason given")
    return case
