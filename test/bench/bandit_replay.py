#!/usr/bin/env python3
"""bandit_replay.py: the logs of bandit_replay.sh, and the peers that replay them.

    bandit_replay.py log ROWS FILE     a log of uniform choices among 10 arms, for COPY
    bandit_replay.py obp FILE          LinUCB of sb-obp over it
    bandit_replay.py mabwiser FILE     LinUCB of MABWiser
    bandit_replay.py vw FILE           explore_eval of Vowpal Wabbit, which has no LinUCB: SquareCB

A peer prints its name, seconds, rows on which it agreed with the log, and the
mean reward of those. Only choosing and learning are timed, not reading the file.
"""
import os
import sys
import tempfile
import time

import numpy as np

ARMS = 10
FEATURES = 10


def write_log(rows, path):
    """Rewards are 1 with a logistic probability that depends on arm and context."""
    random = np.random.default_rng(20240501)
    theta = random.normal(size=(ARMS, FEATURES)) * 0.3
    with open(path, "w") as out:
        for begin in range(0, rows, 50000):
            n = min(50000, rows - begin)
            context = random.random((n, FEATURES)).round(6)
            arm = random.integers(0, ARMS, n)
            score = (context * theta[arm]).sum(1) - 1.5
            reward = (random.random(n) < 1 / (1 + np.exp(-score))).astype(int)
            for i in range(n):
                numbers = ",".join(f"{value:g}" for value in context[i])
                out.write(f"{begin + i}\tarm{arm[i]}\t{reward[i]}\t{1 / ARMS}\t{{{numbers}}}\n")


def read_log(path):
    arms, rewards, contexts = [], [], []
    with open(path) as log:
        for line in log:
            _, arm, reward, _, numbers = line.rstrip("\n").split("\t")
            arms.append(int(arm[3:]))
            rewards.append(float(reward))
            contexts.append([1.0] + [float(number) for number in numbers[1:-1].split(",")])
    return np.array(arms), np.array(rewards), np.array(contexts)


def replay(arms, rewards, contexts, choose, learn):
    agreed, total = 0, 0.0
    begin = time.perf_counter()
    for i in range(len(arms)):
        context = contexts[i:i + 1]
        if choose(context) == arms[i]:
            agreed += 1
            total += rewards[i]
            learn(arms[i], rewards[i], context)
    return time.perf_counter() - begin, agreed, total / max(agreed, 1)


def obp(path):
    from obp.policy import LinUCB
    arms, rewards, contexts = read_log(path)
    # its epsilon multiplies the deviation
    policy = LinUCB(dim=FEATURES + 1, n_actions=ARMS, epsilon=1.0)
    return replay(arms, rewards, contexts, lambda context: policy.select_action(context)[0],
                  lambda arm, reward, context: policy.update_params(action=arm, reward=reward, context=context))


def mabwiser(path):
    from mabwiser.mab import MAB, LearningPolicy
    arms, rewards, contexts = read_log(path)
    policy = MAB(list(range(ARMS)), LearningPolicy.LinUCB(alpha=1.0, l2_lambda=1.0))
    policy.fit(arms[:1], rewards[:1], contexts[:1])
    return replay(arms, rewards, contexts, policy.predict,
                  lambda arm, reward, context: policy.partial_fit([arm], [reward], context))


def vw(path):
    from vowpalwabbit import Workspace
    arms, rewards, contexts = read_log(path)
    with tempfile.NamedTemporaryFile("w", suffix=".vw") as data:
        for i in range(len(arms)):
            numbers = " ".join(f"{f}:{contexts[i][f]:g}" for f in range(1, FEATURES + 1))
            data.write(f"shared |u {numbers}\n")
            for arm in range(ARMS):
                label = f"0:{-rewards[i]:g}:{1 / ARMS} " if arm == arms[i] else ""
                data.write(f"{label}|a {arm}\n")
            data.write("\n")
        data.flush()
        begin = time.perf_counter()
        workspace = Workspace(f"--explore_eval --cb_explore_adf --squarecb -q ua --quiet -d {data.name}")
        workspace.finish()
        seconds = time.perf_counter() - begin
    return seconds, -1, float("nan")


def main():
    if sys.argv[1] == "log":
        write_log(int(sys.argv[2]), sys.argv[3])
        return
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    seconds, agreed, mean = {"obp": obp, "mabwiser": mabwiser, "vw": vw}[sys.argv[1]](sys.argv[2])
    print(f"{sys.argv[1]} {seconds:.3f} {agreed} {mean:.6f}")


if __name__ == "__main__":
    main()
