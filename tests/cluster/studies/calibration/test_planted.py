"""Planted machines: what is true lies inside the 90 % band about nine times of ten."""

from dataclasses import replace

import numpy as np

from cluster.perf_model.calibrate import EIGHT_B
from cluster.studies.calibration.cases import Case, times_of
from cluster.studies.calibration.measurements import Measurement
from cluster.studies.calibration.posterior import sample_posterior
from cluster.studies.calibration.priors import prior_of
from cluster.studies.calibration.surface import fit_surface
from workloads.plan import Plan

NOISE = 0.05
MACHINES = 30


def test_figures_and_plans_of_planted_machines_are_found() -> None:
    rng = np.random.default_rng(6)
    eight = Case(metric="tpot", model=EIGHT_B.model, plan=EIGHT_B.plan, batch=60, context=1024)
    plans = tuple(
        replace(eight, plan=Plan(tensor_parallel_size=size, pipeline_parallel_size=8 // size))
        for size in (4, 2)
    )
    surface = fit_surface(prior_of(["card.dispatch_s", "simd.lanes"]), plans, seed=1)
    inside = np.zeros(2, np.int64)
    odds_of_truth = 0.0

    for number in range(MACHINES):
        shares, setting, plan = rng.random((1, 2)), int(rng.integers(8)), int(rng.integers(2))
        machine = surface.prior.machine(surface.prior.values(shares)[0], setting)
        exact = times_of([plans[plan]], machine)[plans[plan]]
        noisy = exact * float(np.exp(NOISE * rng.standard_normal()))
        row = Measurement(label="8B", cases=plans, value=noisy, error=NOISE)
        found = sample_posterior(
            surface, [row], samples=4096, kept=1024, seed=number, model_error=0.0
        )
        low, high = np.percentile(found.shares, (5, 95), axis=0)
        inside += ((low <= shares[0]) & (shares[0] <= high)).astype(np.int64)
        odds_of_truth += float((found.unsaid[:, 0] == plan).mean())

    # 27 are expected of each; 23 or fewer come in 5 of 100 trials of a right sampler
    assert (inside >= 23).all(), inside
    assert odds_of_truth / MACHINES > 0.5  # better than a guess
