"""Hooks of Schemathesis: generated requests are led to what exists, and every answer is noted."""

import json
import os
import random
import re
import threading

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

LED = 0.8
WAIT = re.compile(r"[1-9][0-9]{0,5}(ms|s|m)")
KEYS = ("one", "two", "three")
THERE = {"service": "default", "number": "1"}
# An endpoint that answers, and one that does not.
ENDPOINTS = os.environ["DUALGATE_ENDPOINTS"].split()

dice = random.Random(int(os.environ["DUALGATE_DICE"]))
lock = threading.Lock()
notes = open(os.environ["DUALGATE_NOTES"], "a")


def is_good(case, location):
    """Whether a part of the request is meant to be right; what is meant to be wrong stays as it is."""
    component = case.meta.components.get(location)
    return component is None or component.mode == GenerationMode.POSITIVE


def lead_headers(headers):
    if "If-Match" in headers and dice.random() < LED:
        headers["If-Match"] = "*"
    if "Idempotency-Key" in headers:
        if dice.random() < LED:
            del headers["Idempotency-Key"]
        elif dice.random() < LED:
            headers["Idempotency-Key"] = dice.choice(KEYS)


def lead_body(body):
    if isinstance(body.get("primary"), (int, float)) and isinstance(body.get("secondary"), (int, float)):
        body["primary"] = round(body["primary"], dice.choice((0, 1, 2)))
        body["secondary"] = round(100 - body["primary"], 2)
    if "endpoints" in body:
        body["endpoints"] = dice.sample(ENDPOINTS, dice.choice((1, 2)))


@schemathesis.serializer("application/toml")
def toml(context, value):
    return str(value).encode(errors="replace")


@schemathesis.hook
def before_call(context, case, kwargs):
    # What is asked to be waited for would be waited for.
    query = case.query or {}
    if WAIT.fullmatch(str(query.get("wait", ""))):
        query["wait"] = "3ms"
    # Of the cases at the edges, only those that are meant to be right are not exactly what they should be.
    meta = case.meta
    if not meta or (meta.phase.name == TestPhase.COVERAGE and meta.generation.mode == GenerationMode.NEGATIVE):
        return
    if "dry_run" in query and is_good(case, ParameterLocation.QUERY) and dice.random() < LED:
        del query["dry_run"]
    if case.path_parameters and is_good(case, ParameterLocation.PATH) and dice.random() < LED:
        case.path_parameters.update({name: THERE[name] for name in case.path_parameters if name in THERE})
    if case.headers and is_good(case, ParameterLocation.HEADER):
        lead_headers(case.headers)
    if isinstance(case.body, dict) and is_good(case, ParameterLocation.BODY) and dice.random() < LED:
        lead_body(case.body)


@schemathesis.hook
def after_call(context, case, response):
    try:
        document = response.json()
    except ValueError:
        document = None
    document = document if isinstance(document, dict) else {}
    note = {
        "method": case.method,
        "path": case.path,
        "status": response.status_code,
        "type": document.get("type", ""),
        "made": bool(document.get("changed")) and "revision" in document and not document.get("dry_run"),
        "revision": document.get("revision"),
        "replayed": "idempotency-replayed" in response.headers,
    }
    with lock:
        notes.write(json.dumps(note) + "\n")
        notes.flush()
