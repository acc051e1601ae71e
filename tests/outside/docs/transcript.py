"""Compares the README's transcript with what a demo printed just now, or writes it.

transcript.py README OUTPUT [--write]

What differs from run to run is left out in the same way on both sides: ids after their prefix, ports, the operator's key, the
login's password, days; and, of a webhook's line, what Bursar made of it, because that depends on which of several came first.
Everything else is compared: orders and their answers, webhooks and their answers, notifications, the whole table. Lines of one
step are compared as a set, since webhooks overtake each other. The README shows the steps named below.
"""

import re
import sys
from pathlib import Path

readme, output, write = Path(sys.argv[1]), Path(sys.argv[2]), "--write" in sys.argv
BEGIN, END = "<!-- transcript: tests/outside/docs/run.sh writes and compares it -->\n```text\n", "```\n<!-- end of transcript -->"
STEPS = ["a month later the subscription renews", "half of that payment is refunded"]


def plain(line):
    line = re.sub(r"\b(evt|ntf|cs_test|pi|in|sub|ch|re|du|cus)_[A-Za-z0-9]+…?", r"\1_…", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "…", line)
    line = re.sub(r"(  --> .*\[\d+\]).*", r"\1", line)
    arrow = re.fullmatch(r"  (-->|<--) (\S+) +(\S+) +(.*)", line)
    if arrow:
        line = f"  {arrow[1]} {arrow[2]:<32} {arrow[3]:<7} {arrow[4]}"
    return line.rstrip()


def steps(text):
    found, name = {}, None
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name = line
            found[name] = []
        elif name and line.startswith("  ") and line.strip():
            found[name].append(plain(line))
        elif not line:
            name = None
    return found


text = output.read_text()
played = steps(text)
table = [re.sub(r" {2,}", "  ", line).rstrip() for line in text[text.index("  step  "):].splitlines() if line.strip()]
# The table's own columns matter to the eye, so it is shown as printed.
shown_table = text[text.index("  step  "):].rstrip()
shown = []
for step in STEPS:
    shown += [step, *played[step], ""]
shown.append(shown_table)
made = "\n".join(shown) + "\n"
page = readme.read_text()
start = page.index(BEGIN) + len(BEGIN)
stop = page.index(END)
if write:
    readme.write_text(page[:start] + made + page[stop:])
    print(f"ran transcript: written lines={made.count(chr(10))}")
    sys.exit(0)
there = page[start:stop]
wrong = []
for step in STEPS:
    said = sorted(steps(there).get(step, []))
    now = sorted(played[step])
    wrong += [f"the README says, the demo does not: {line}" for line in said if line not in now]
    wrong += [f"the demo says, the README does not: {line}" for line in now if line not in said]
    if len(said) != len(now):
        wrong.append(f"{step}: {len(said)} lines in the README, {len(now)} now")
said_table = [re.sub(r" {2,}", "  ", line).rstrip() for line in there[there.index("  step  "):].splitlines() if line.strip()]
if said_table != table:
    wrong += [f"the table: {a!r} is {b!r} now" for a, b in zip(said_table, table) if a != b] or ["the table has another length"]
for line in wrong:
    print(f"wrong: {line}")
print(f"ran transcript: steps={len(STEPS)} lines={there.count(chr(10))} differences={len(wrong)}")
sys.exit(bool(wrong))
