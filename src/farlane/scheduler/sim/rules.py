"""Which task goes next: the priority rules of the literature, each the lowest number first."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import CPU, World


class Rule(IntEnum):
    """Rules by name. Wait and now in seconds; r the run time that is asked for, n the processors, s the arrival.

    FCFS: s. SJF: r. SMALLEST: n. SAF: r n. F1 to F4: Carastan-Santos and de Camargo, SC 2017, table 4. WFP3:
    -(wait / r)^3 n; UNICEP: -wait / (log2(n) r), both Tang et al. 2009. WFP3_PUBLISHED, UNICEP_PUBLISHED: the same
    with a wait of -1 - s, as the tables of RLScheduler (Zhang et al., SC 2020) have them. HRRN: -(wait + r) / r. Those
    that end in _HISTORY take for r the mean of the user's last two run times, at most r (Tsafrir, Etsion and Feitelson
    2007).
    """

    FCFS = 0
    SJF = 1
    SMALLEST = 2
    SAF = 3
    F1 = 4
    F2 = 5
    F3 = 6
    F4 = 7
    WFP3 = 8
    UNICEP = 9
    WFP3_PUBLISHED = 10
    UNICEP_PUBLISHED = 11
    HRRN = 12
    SJF_HISTORY = 13
    SAF_HISTORY = 14
    F1_HISTORY = 15
    WFP3_HISTORY = 16


_HISTORY = int(Rule.SJF_HISTORY)
FCFS, SJF, SMALLEST, SAF = int(Rule.FCFS), int(Rule.SJF), int(Rule.SMALLEST), int(Rule.SAF)
F1, F2, F3, F4 = int(Rule.F1), int(Rule.F2), int(Rule.F3), int(Rule.F4)
WFP3, UNICEP = int(Rule.WFP3), int(Rule.UNICEP)
WFP3_PUBLISHED, UNICEP_PUBLISHED, HRRN = int(Rule.WFP3_PUBLISHED), int(Rule.UNICEP_PUBLISHED), int(Rule.HRRN)
SAF_HISTORY, F1_HISTORY, WFP3_HISTORY = int(Rule.SAF_HISTORY), int(Rule.F1_HISTORY), int(Rule.WFP3_HISTORY)
LEAST = 0.1
"""Stands for a time of 0 where a logarithm is taken."""


@compiled
def expected_s(world: World, state: State, task: int) -> float:
    """Return the run time that a user's last two tasks let expect, at most the one asked for; that one without them."""
    tasks = world.tasks
    estimate, last = tasks.estimate_s[task], state.recent[tasks.user[task]]
    if np.isnan(last[0]):
        return float(estimate)
    mean = last[0] if np.isnan(last[1]) else (last[0] + last[1]) / 2.0
    return float(min(mean, estimate))


@compiled
def score(world: World, state: State, rule: int, task: int) -> float:
    """Return the number by which a rule orders a task now: the lowest first, of equals the one that arrived first."""
    tasks = world.tasks
    s, n = tasks.arrival[task], float(tasks.demand[task, CPU])
    r = expected_s(world, state, task) if rule >= _HISTORY else tasks.estimate_s[task]
    if WFP3 <= rule <= HRRN or rule == WFP3_HISTORY:
        return _waiting(rule, state.clock[0], s, n, r)
    if F1 <= rule <= F4 or rule == F1_HISTORY:
        return _fitted(rule, s, n, max(r, LEAST))
    if rule == FCFS:
        return float(s)
    if rule == SMALLEST:
        return n
    if rule in (SAF, SAF_HISTORY):
        return float(r * n)
    return float(r)  # SJF, SJF_HISTORY


@compiled
def _waiting(rule: int, now: float, s: float, n: float, r: float) -> float:
    """Return what rules give that look at how long a task has waited."""
    if rule == WFP3_PUBLISHED:
        return float(-np.power((-1.0 - s) / r, 3.0) * n)
    if rule == UNICEP_PUBLISHED:
        return float(-(-1.0 - s + 1e-15) / (np.log2(n + 1e-15) * r))
    wait, r = now - s, max(r, LEAST)
    if rule == UNICEP:
        return float(-wait / (np.log2(max(n, 1.0 + 1e-9)) * r))
    if rule == HRRN:
        return float(-(wait + r) / r)
    return float(-np.power(wait / r, 3.0) * n)  # WFP3, WFP3_HISTORY


@compiled
def _fitted(rule: int, s: float, n: float, r: float) -> float:
    """Return what the functions F1 to F4 give, which were fitted to simulations."""
    age = np.log10(max(s, LEAST))
    if rule == F2:
        return float(np.sqrt(r) * n + 25600.0 * age)
    if rule == F3:
        return float(r * n + 6860000.0 * age)
    if rule == F4:
        return float(r * np.sqrt(n) + 530000.0 * age)
    return float(np.log10(r) * n + 870.0 * age)


@compiled
def lasting(rule: int) -> bool:
    """Tell whether a rule's number of a task never changes."""
    return rule < WFP3 or rule in (WFP3_PUBLISHED, UNICEP_PUBLISHED)
