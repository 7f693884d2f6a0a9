# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Rules of `heed bars` on numbers made by hand, from both sides of each."""

import json
import math
import pathlib

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from heed.models.published import antidiagonals, curves  # noqa: E402
from heed.models.published import lengths, precision, pruning, recall  # noqa: E402
from heed.models.published import retrieval, sinks  # noqa: E402
from heed.models.published.bar import DIRECTION, NOT_SEEN, REDONE  # noqa: E402
from heed.models.published.bar import surely_above, together  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_bounds():
    assert surely_above(1.0, 0.5) and not surely_above(1.0, 0.52)
    assert surely_above(1.0, 0.25, 0.5) and not surely_above(1.0, 0.26, 0.5)
    assert not surely_above(1.0, None)
    assert together(3.0, 4.0) == 5 and together(3.0, None) is None


def setting(sink, ratio, over, error=0.01, window=512):
    return {
        "window": window,
        "sink": sink,
        "ln_ratio": ratio,
        "ln_ratio_error": error,
        "over_four": over,
        "over_four_error": error,
    }


@pytest.mark.parametrize(
    "none, four, label",
    [
        (setting(0, 1.0, 0.95), setting(4, 0.05, 0), REDONE),
        (setting(0, 1.0, 0.95), setting(4, math.log(1.1) - 0.019, 0), DIRECTION),
        (setting(0, 1.0, 0.95), setting(4, math.log(1.1) - 0.021, 0), REDONE),
        (setting(0, 1.0, 0.95), setting(4, 0.2, 0), DIRECTION),
        (setting(0, 0.07, 0.019), setting(4, 0.05, 0), NOT_SEEN),
        (setting(0, 0.07, 0.021), setting(4, 0.05, 0), REDONE),
        (setting(0, 0.01, -0.04), setting(4, 0.05, 0), NOT_SEEN),
    ],
)
def test_sinks(none, four, label):
    assert sinks.judge({"settings": [none, four]}) == label
    other = [setting(0, 1, 0.9, window=1024), setting(4, 0.3, 0, window=1024)]
    both = sinks.judge({"settings": [none, four, *other]})  # the worst window decides
    assert both == (DIRECTION if label == REDONE else label)
    main = sinks.numbers({"settings": [none, four]})[0]
    assert main.ours == pytest.approx(math.exp(none["over_four"]))
    assert main.error == pytest.approx(0.01 * main.ours)


def point(share, loss, random, error=0.002):
    return pruning._point(share, loss, error, random)


def test_pruning():
    wide = [0.5, 0.6, 0.7, 0.8]
    much = point(0.4, 3.0, wide)
    for loss, label in ((0.005, DIRECTION), (0.008, NOT_SEEN), (-0.1, DIRECTION)):
        assert pruning.judge({"points": [point(0.2, loss, wide), much]}) == label
    # The mean of draws is 0.65 and its error 0.065.
    for loss, label in ((0.5, DIRECTION), (0.54, NOT_SEEN)):
        points = [point(0.2, loss, wide), point(0.4, 0.1, wide)]
        assert pruning.judge({"points": points}) == label
        assert pruning.judge({"points": points[::-1]}) == label
    lines = pruning.numbers({"points": [point(0.2, 0.5, wide), much]})
    assert [line.ours for line in lines] == pytest.approx([0.5, 0.65, 3.0, 0.65])


def test_retrieval_share():
    values = [0.1] * 5 + [0.09] * 45 + [0.0] * 50
    found = retrieval._share(values)
    assert found["share"] == 0.05 and found["never"] == 0.5
    assert found["share_error"] == pytest.approx(math.sqrt(0.05 * 0.95 / 100))
    for share, label in (
        (0, NOT_SEEN),
        (0.02, DIRECTION),
        (0.021, REDONE),
        (0.062, REDONE),
        (0.063, DIRECTION),
        (0.1, DIRECTION),
        (0.11, NOT_SEEN),
    ):
        assert retrieval.judge_share({"share": share}) == label


def test_retrieval_masked():
    draws = [-0.1, 0.0, 0.1, 0.0]
    base = {"random": 0.0, "random_error": 0.3, "draws": draws, "change_error": 0.4}
    for change, label in (
        (-1.0, DIRECTION),  # the error of both is 0.5
        (-0.97, NOT_SEEN),
        (0.01, NOT_SEEN),
    ):
        assert retrieval.judge_masked({**base, "change": change}) == label
    wide = {**base, "draws": [-3.0, 1.0, 1.0, 1.0]}  # one draw does as much harm
    assert retrieval.judge_masked({**wide, "change": -1.0}) == NOT_SEEN


def test_equal_density():
    assert antidiagonals.mass_at([(1, 1), (0.2, 0.5)], 0.6) == pytest.approx(0.75)
    base = [(0.5, 0.9), (0.6, 0.8)]
    settings = [[(0.4, 0.7), (0.4, 0.5)], [(1.0, 1.0), (0.8, 0.9)]]  # by layer
    found = antidiagonals.at_equal_density({"other": settings}, base)["other"]
    masses = [0.75, 0.7]
    assert found["mass"] == pytest.approx(np.mean(masses))
    less = [0.9 - 0.75, 0.8 - 0.7]
    assert found["less"] == pytest.approx(np.mean(less))
    assert found["less_error"] == pytest.approx(np.std(less, ddof=1) / math.sqrt(2))


def test_xattention():
    way = lambda less: {"mass": 0.8, "less": less, "less_error": 0.01}
    judge = lambda a, b: antidiagonals.judge_ways({"ways": {"a": way(a), "b": way(b)}})
    assert judge(0.02, 0.02) == DIRECTION
    assert judge(0.02, 0.019) == NOT_SEEN and judge(-0.1, 0.1) == NOT_SEEN

    ways = {"diagonal": way(0.02), "drawn": way(0.03)}
    ours = {"ways": ways, "density": 0.5, "mass": 0.9}
    lines = antidiagonals.numbers_pattern(ours)
    assert [line.ours for line in lines] == [0.02, 0.03, 0.9]
    assert lines[0].published.startswith("7.4") and "diagonal" in lines[0].what

    def density(last, falls, tokens=4096):
        points = [
            {"tokens": tokens // 2, "density": 0.7, "density_error": 0.01},
            {"tokens": tokens, "density": last, "density_error": 0.01}
            | {"falls": falls, "falls_error": 0.05},
        ]
        return antidiagonals.judge_density({"lengths": points})

    assert density(0.45, 0.1) == REDONE and density(0.62, 0.1) == REDONE
    assert density(0.41, 0.1) == DIRECTION and density(0.63, 0.1) == DIRECTION
    assert density(0.5, 0.09) == NOT_SEEN
    assert density(0.5, 0.1, 2048) == DIRECTION


def test_curves():
    made = {
        curves.LOCAL: [(0.1, 0.9, 0.01), (0.5, 0.1, 0.03)],
        curves.VERTICAL: [(0.6, 0.0, 0.02), (0.2, 0.4, 0.02)],  # from dense to sparse
        curves.BLOCKS: [(0.3, 0.3, 0.01), (0.7, 0.1, 0.02)],
    }
    # The published densities that all have, and three in what all have.
    places = curves.compared(made)
    densities = [p["density"] for p in places]
    assert densities == pytest.approx([0.3, 0.4, 0.35, 0.45])
    assert places[1][curves.LOCAL] == pytest.approx([0.3, 0.03])
    assert places[1][curves.VERTICAL] == pytest.approx([0.2, 0.02])
    assert places[1][curves.BLOCKS] == pytest.approx([0.25, 0.02])
    dense = {way: [(d + 0.2, *of) for d, *of in c] for way, c in made.items()}
    densities = [p["density"] for p in curves.compared(dense)]
    assert densities == pytest.approx([0.55, 0.6, 0.65])  # 0.5 falls short of 0.4
    apart = {**made, curves.BLOCKS: [(0.6, 0.3, 0.01), (0.7, 0.1, 0.02)]}
    assert curves.compared(apart) == []
    three = [(0.1, 4.0, 0.1), (0.2, 2.0, 0.2), (0.4, 1.0, 0.3)]
    assert curves.at(three, 0.15) == pytest.approx((3.0, 0.2))
    assert curves.at(three, 0.3) == pytest.approx((1.5, 0.3))

    def judge(vertical, blocks, local=0.3, error=0.03, density=0.3):
        place = {
            "density": density,
            curves.LOCAL: (local, error),
            curves.VERTICAL: (vertical, 0.04),
            curves.BLOCKS: (blocks, 0.04),
        }
        easy = {**place, "density": 0.35, curves.LOCAL: (9.0, error)}
        return curves.judge_places([easy, place, easy])

    lines = curves.numbers({"curves": made})
    assert [line.published for line in lines][:3] == [
        "0.037 at 0.3",
        "0.024 at 0.3",
        "0.075 at 0.3",
    ]
    assert [line.published[-3:] for line in lines][3:6] == ["0.4"] * 3
    assert [line.published for line in lines][6:] == ["-"] * 6
    assert [line.ours for line in lines][2] == places[0][curves.LOCAL][0]
    assert curves.judge({"curves": made}) == curves.judge_places(places)

    assert judge(0.2, 0.2) == REDONE  # the error of a difference is 0.05
    assert judge(0.21, 0.2) == DIRECTION and judge(0.2, 0.21) == DIRECTION
    assert judge(0.31, 0.1) == NOT_SEEN and judge(0.1, 0.31) == NOT_SEEN
    # At other densities than the published it is another result.
    assert judge(0.2, 0.2, density=0.6) == DIRECTION


def memory(linear_at_twice, exact=1.0, narrow=0.1, wide=0.3):
    rows = []
    for dim, last in ((32, narrow), (64, wide)):
        for pairs, share in ((64, 1.0), (128, linear_at_twice), (256, last)):
            both = {"linear": min(share, 1.0), "exact": exact, "delta": 0.5}
            for rule, value in both.items():
                rows.append(
                    {"task": "write once", "pairs": pairs, "dim": dim, "rule": rule}
                    | {"recall": value, "recall_error": 0.05, "state_bytes": 1}
                )
    return {"rows": rows}


def test_recall_rule():
    assert recall.judge(memory(0.49)) == REDONE
    assert recall.judge(memory(0.5)) == DIRECTION
    assert recall.judge(memory(0.4, exact=0.98)) == NOT_SEEN
    # More state: the error of a difference is 0.0707.
    assert recall.judge(memory(0.4, narrow=0.17)) == NOT_SEEN
    assert recall.judge(memory(0.4, narrow=0.15)) == REDONE
    assert recall.judge(memory(1.0, wide=1.0)) == NOT_SEEN  # nothing is forgotten
    lines = recall.numbers(memory(0.49))
    assert [line.ours for line in lines] == [1.0, 0.49, 0.3, 0.5]


def test_precision_rule():
    row = lambda ratio, **more: {"ratio": ratio, "nmse": 1e-6, "twice": True, **more}
    judge = lambda *rows: precision.judge({"rows": list(rows)})
    assert judge(row(1.7), row(3)) == REDONE
    assert judge(row(1.69), row(3)) == DIRECTION and judge(row(1.0)) == NOT_SEEN
    assert judge(row(3, twice=False)) == NOT_SEEN
    assert judge(row(3, nmse=5e-4)) == REDONE
    assert judge(row(3, nmse=6e-4)) == NOT_SEEN


def crossing(length, crosses=True, **more):
    found = {"crosses": crosses, "length": length, "shortest": None, "longest": None}
    return {**found, **more}


def test_lengths_rules():
    def judge(performer, window=crossing(0)):
        found = {"performer": performer, "cosformer": crossing(2539)}
        return lengths.judge_linear({"variants": {**found, "window_sink": window}})

    assert judge(crossing(2361)) == REDONE
    assert judge(crossing(2362)) == DIRECTION
    assert judge(crossing(100), crossing(None, False)) == NOT_SEEN

    def sparse(found, choosing):
        ours = {"variants": {lengths.SPARSE: found}, "choosing": choosing}
        return lengths.judge_sparse(ours)

    assert sparse(crossing(50_000), 0.24) == REDONE
    assert sparse(crossing(50_001), 0.24) == DIRECTION
    assert sparse(crossing(100), 0.25) == DIRECTION
    assert sparse(crossing(None, False), 0.25) == NOT_SEEN
    line = lengths._length("", "", crossing(100, shortest=80, longest=130))
    assert line.ours == 100 and line.error == 25
    assert lengths._length("", "", crossing(0, shortest=0, longest=90)).error is None

    # Lengths of a file, and a share that was timed here.
    ours = {"variants": {lengths.SPARSE: crossing(100)}, "choosing": 0.1, "cpu": "a"}
    share = lambda **more: lengths.numbers_sparse({**ours, **more})[1].what
    assert share(choosing_cpu="a") == share() == "share of choosing at 16,384 tokens"
    assert share(choosing_cpu="b").endswith(" tokens, on b")


@pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="needs the checkout")
def test_lengths_of_a_kept_comparison():
    kept = json.loads((ROOT / "bench/results/zen3/lengths.json").read_text())
    found = lengths.crossings(kept, lengths.CAB)
    by_name = {row["name"].split(":")[0]: row for row in kept["sweep"]["rows"]}
    performer = found["variants"]["performer"]
    assert performer["length"] == by_name["performer"]["efficiency_length"]
    assert performer["crosses"] and found["variants"]["window_sink"]["length"] == 0
    assert not lengths.crossings(kept, ["quest"])["variants"]["quest"]["crosses"]
    with pytest.raises(KeyError, match="mine"):
        lengths.crossings(kept, ["quest", "mine"])


def test_attention_by_its_formula():
    rng = np.random.default_rng(1)
    q, k, v = precision.inputs(rng, 40, 16)
    size = np.abs(np.stack([q, k, v]).astype(np.float64))
    assert size.max() > 5 and q.dtype == np.float16  # 7,680 numbers: outliers are there
    wide = [x[0, :, 1].astype(np.float64) for x in (q, k, v)]
    for causal in (False, True):
        weights = np.exp(wide[0] @ wide[1].T / 4)
        weights = np.tril(weights) if causal else weights
        want = weights / weights.sum(1, keepdims=True) @ wide[2]
        got = precision.attend(q, k, v, causal, np.float64)
        np.testing.assert_allclose(got[0, :, 1], want, atol=1e-12)
        half = precision.attend(q, k, v, causal, np.float16)
        assert half.dtype == np.float16
        np.testing.assert_allclose(half[0, :, 1], want, atol=0.1)
        assert 1e-5 < np.abs(half[0, :, 1] - want).max()


def test_reads_of_a_state(rng):
    keys = rng.standard_normal((1, 20, 2, 16)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    values = rng.standard_normal((1, 20, 2, 16)).astype(np.float32)
    ask = keys[:, 3:9]
    linear = recall.RULES["linear"](keys, values, ask)
    delta = recall.RULES["delta"](keys, values, ask)
    for head in range(2):
        k, v, q = (x[0, :, head].astype(np.float64) for x in (keys, values, ask))
        np.testing.assert_allclose(linear[0, :, head], q @ k.T @ v / 4, atol=1e-5)
        state = np.zeros((16, 16))
        for key, value in zip(k, v):
            state += np.outer(key, value - key @ state)
        np.testing.assert_allclose(delta[0, :, head], q @ state / 4, atol=1e-4)


def test_recall_of_few_and_of_many():
    assert recall.recalled("exact", 4, 1, 64, 1) == (1.0, 0.0)
    assert recall.recalled("delta", 4, 4, 64, 1)[0] > 0.95
    few, many = (recall.recalled("linear", n, 1, 16, 1)[0] for n in (4, 256))
    assert few > 0.7 and many < 0.3
    last, _ = recall.recalled("linear", 16, 16, 16, 1)  # sums of sixteen words
    assert last < 0.3
    assert recall.recalled("linear", 64, 1, 16, 1) == recall.recalled(
        "linear", 64, 1, 16, 1
    )
    assert recall.state_bytes("exact", 64, 10) == 2 * 4 * 64 * 10
    assert recall.state_bytes("linear", 64, 10) == 4 * 64 * 64
