#!/usr/bin/env python3
"""The demo from end to end, on the sample shop and on CSV folders, in fewer rounds.

It runs on a server of its own (BR_STATE), which goes with it. The probabilities
of a click are the simulator's, so that "better" is the truth and not a guess.
Learning is chance: the expectations hold in all but a few in a thousand runs,
and a run that misses them is repeated once.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("bundlerec_electronic", "steam")
ROW = re.compile(r"^\s*(before|other seed|learner|placebo|noise)\s*\|(.*)$", re.MULTILINE)
results = []


def ok(passed, what, output=""):
    results.append(passed)
    print(f"{'ok' if passed else 'not ok'} {len(results)} - {what}", flush=True)
    if not passed:
        print("".join(f"# {line}\n" for line in output.splitlines()[-60:]), end="")


def skip(count, what, reason):
    for _ in range(count):
        results.append(True)
        print(f"ok {len(results)} - {what} # SKIP {reason}")


def run_demo(state, visits, data=""):
    """(exit status, everything printed)."""
    env = dict(os.environ, BR_STATE=state, DEMO_VISITS=str(visits), DATA=data)
    run = subprocess.run(["tools/demo/run"], cwd=ROOT, env=env, text=True, errors="replace",
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.returncode, run.stdout


def figures(output):
    """Policy -> (click probability, change from before, its standard error)."""
    rows = {}
    for match in ROW.finditer(output):
        fields = [field.strip() for field in match.group(2).split("|")]
        rows[match.group(1)] = tuple(float(field) if field else None for field in fields[:3])
    return rows


def pairs(output):
    """Of the table beside the reasons: what was said and what was counted, as printed."""
    rows = re.findall(r"^\s*\S.* \+ \S.*\|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|(.*)$", output, re.MULTILINE)
    return [[field.strip() for field in row] for row in rows]


def same_number(said, counted):
    """Equal, or one off in the last of four digits, which sums in another order may give."""
    if said == "" or counted == "":
        return said == counted
    return abs(float(said) - float(counted)) <= 1.5e-4


def ran_well(name, status, output):
    ok(status == 0, f"{name}: the demo ends well", output)
    ok(not re.search(r"ERROR:|FATAL:|PANIC:", output), f"{name}: no error", output)
    rows = pairs(output)
    ok(len(rows) > 0 and all(same_number(row[i], row[i + 1]) for row in rows for i in (0, 2, 4)),
       f"{name}: the numbers of the reasons are those of plain SQL", output)


def expected(rows):
    """Whether learning helped and the placebo did not."""
    if set(rows) != {"before", "other seed", "learner", "placebo", "noise"}:
        return False, False
    _, gain, error = rows["learner"]
    _, change, chance = rows["placebo"]
    return gain > 2 * error > 0, abs(change) <= 3 * chance


def sample_shop(state):
    status, output = run_demo(state, 500)
    if status == 0 and not all(expected(figures(output))):
        status, output = run_demo(state, 500)
    ran_well("sample shop", status, output)
    better, unchanged = expected(figures(output))
    ok(better, "sample shop: true clicks raise the click probability by over 2 standard errors", output)
    ok(unchanged, "sample shop: the placebo leaves it as it was, within 3 standard errors", output)
    summed = re.search(r"^\s*([\d.]+) \|\s*([\d.]+) \|\s*([\d.]+) \|\s*([\d.]+)$", output, re.MULTILINE)
    ok(summed is not None and summed.group(1) == summed.group(2) and summed.group(3) == summed.group(4),
       "sample shop: price and margin are those of plain SQL", output)


def folder(state, name):
    data = os.path.join(ROOT, "..", "shared", "data", name)
    if not os.path.isdir(data):
        skip(4, name, "../shared/data is not there")
        return
    status, output = run_demo(state, 60, data)
    ran_well(name, status, output)
    ok(len(figures(output)) == 5, f"{name}: every policy was judged", output)


def main():
    state = tempfile.mkdtemp(prefix="br_demo_", dir="/tmp")
    os.chmod(state, 0o755)
    try:
        sample_shop(state)
        for name in FOLDERS:
            folder(state, name)
    finally:
        subprocess.run(["tools/cluster", "remove", "demo"], cwd=ROOT, stdin=subprocess.DEVNULL,
                       env=dict(os.environ, BR_STATE=state))
        shutil.rmtree(state, ignore_errors=True)
    print(f"1..{len(results)}")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
