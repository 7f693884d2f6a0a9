# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--no-skips", action="store_true", help="what is skipped fails: all is there"
    )


def _refuse_skip(report, config):
    if config.getoption("--no-skips") and report.skipped:
        if not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid}: skipped: {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skip((yield), collector.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return _refuse_skip((yield), item.config)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def qkv(rng):
    """Makes float32 q, k, v [b, s, h, d]."""

    def make(batch=2, rows=9, keys=13, heads=4, kv_heads=2, d=16, dv=None):
        shape = ((rows, heads, d), (keys, kv_heads, d), (keys, kv_heads, dv or d))
        return [rng.standard_normal((batch, *s), np.float32) for s in shape]

    return make
