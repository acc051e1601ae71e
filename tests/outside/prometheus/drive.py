#!/usr/bin/env python3
"""Asks a real Prometheus what every panel and every rule asks, while it scrapes a running demo.

  drive.py PROMETHEUS_URL DASHBOARDS_FOLDER

A query that Prometheus refuses is an error. One that answers nothing, or only NaN, is empty, unless it is in EMPTY_IS_HEALTHY.
"""
import json
import math
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

URL, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
WAIT_SECONDS = 90
# The whole story of the demo is in it.
VARIABLES = {"$__rate_interval": "3m", "$__range": "5m", "$job": ".+", "$instance": ".+"}

# (dashboard, panel, place of the query): why it shows nothing in a healthy installation.
EMPTY_IS_HEALTHY = {
    ("overview", "Since the last good comparison", 0): "the demo ends before its first comparison with Stripe",
}
# Recorded series that answer nothing in a healthy installation.
EMPTY_RECORDS = {
    "job_lane:bursar_outbox_oldest:age": "nothing waits",
}
# What fires beside a demo, and why. Everything else may not.
FIRES = {
    "BursarDisputeOpened": "the story has a dispute",
}
MAY_FIRE = {}


def ask(path, **parameters):
    address = f"{URL}/api/v1/{path}"
    if parameters:
        address += "?" + urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def values(answer):
    data = answer["data"]
    results = data["result"] if data["resultType"] == "vector" else []
    return [one for one in results if not math.isnan(float(one["value"][1]))]


def queries():
    for file in sorted(FOLDER.glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for place, target in enumerate(panel.get("targets", [])):
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                yield (file.stem, panel["title"], place), query


def look_at_dashboards():
    errors, empty, unexpected_full = [], [], []
    count, panels, dashboards = 0, set(), set()
    for key, query in queries():
        count += 1
        panels.add(key[:2])
        dashboards.add(key[0])
        answer = ask("query", query=query)
        if answer["status"] != "success":
            errors.append(f"{key}: {answer.get('error')}")
        elif not values(answer) and key not in EMPTY_IS_HEALTHY:
            empty.append(f"{key}: {query}")
        elif values(answer) and key in EMPTY_IS_HEALTHY:
            unexpected_full.append(f"{key} is no longer empty: take it off the list")
    for text in errors + empty + unexpected_full:
        print(f"  {text}")
    figures = f"dashboards={len(dashboards)} panels={len(panels)} queries={count}"
    healthy = len(EMPTY_IS_HEALTHY)
    print(f"ran prometheus: {figures} errors={len(errors)} empty={len(empty)} empty_is_healthy={healthy}")
    return not (errors or empty or unexpected_full)


def look_at_rules():
    wrong, records, alerts = [], 0, 0
    firing = set()
    for group in ask("rules")["data"]["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
            if rule["type"] == "recording":
                records += 1
                if not values(ask("query", query=rule["name"])) and rule["name"] not in EMPTY_RECORDS:
                    wrong.append(f"{rule['name']} records nothing")
                continue
            alerts += 1
            for alert in rule["alerts"]:
                texts = [alert["annotations"].get(name, "") for name in ("summary", "description")]
                if any(not text or "<no value>" in text or "error" in text.lower() and "expanding" in text for text in texts):
                    wrong.append(f"{rule['name']} says {texts}")
            if rule["state"] == "firing":
                firing.add(rule["name"])
    wrong += [f"{name} fires" for name in sorted(firing - FIRES.keys() - MAY_FIRE.keys())]
    wrong += [f"{name} does not fire though {why}" for name, why in FIRES.items() if name not in firing]
    for text in wrong:
        print(f"  {text}")
    print(f"ran rules: records={records} alerts={alerts} firing={len(firing)} wrong={len(wrong)}")
    return not wrong


def records():
    """The names of the recorded series that must have a value."""
    rules = [rule for group in ask("rules")["data"]["groups"] for rule in group["rules"]]
    return [rule["name"] for rule in rules if rule["type"] == "recording" and rule["name"] not in EMPTY_RECORDS]


def settled():
    """Until every group of rules was evaluated over what the story left."""
    wanted = {
        "the story's dispute": "sum(increase(bursar_disputes_opened_total[5m])) > 0",
        "its alert": 'ALERTS{alertname="BursarDisputeOpened", alertstate="firing"}',
    }
    wanted |= {name: name for name in records()}
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        wanted = {what: query for what, query in wanted.items() if not values(ask("query", query=query))}
        if not wanted:
            return
        time.sleep(0.5)
    print(f"  Prometheus did not see all of the story in {WAIT_SECONDS} s: {', '.join(wanted)}")


settled()
good = look_at_dashboards()
good = look_at_rules() and good
sys.exit(0 if good else 1)
