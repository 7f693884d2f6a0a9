# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The answers of `heed report` by their rules, each from every side."""

import made_results as made
import pytest

from heed.report import answers
from heed.report.answers import words


def with_rows(*rows, share=0.5):
    """heed eval's result of these: (verdict, time ratio, whether it looks ahead).

    share: of the model's time, attention's.
    """
    found = made.eval_()
    exact, near = found["rows"][:2]
    times = {"model_seconds": 10.0, "attention_seconds": 10.0 * share}
    found["rows"] = [{**exact, **times}]
    for i, (verdict, time, ahead) in enumerate(rows):
        kernel = {**near["kernel"], "time_ratio": time}
        row = {**near, "spec": f"v:k={i}", "verdict": verdict, "ahead": ahead}
        found["rows"].append({**row, "kernel": kernel})
    return found


KEPT, LOST = ("kept", 1.1, False), ("both lost", 0.3, False)
NO_MILDER = "no milder one that keeps both was timed"


@pytest.mark.parametrize(
    "rows, word",
    [
        ([("kept", 0.5, False), ("both lost", 0.3, False)], "yes"),
        ([("kept", 1.1, False), ("both lost", 0.3, False)], "no"),
        ([KEPT, ("recall lost", 0.5, False), ("text lost", 0.9, False)], "no"),
        ([KEPT, ("undecided", 1.2, False), ("text lost", 0.9, False)], "no"),
    ],
)
def test_whether_the_cost_is_beaten(rows, word):
    answer = answers.quadratic(with_rows(*rows))
    assert answer["word"] == word
    faster = sum(time < 1 for _, time, _ in rows)
    assert f"{faster} of {len(rows)} variants take less time" in answer["says"][0]
    assert "Not decided" not in " ".join(answer["says"])
    if word == "yes":
        assert "v:k=0 (0.50 of the time, KLD 0.0100 ± 0.0010" in answer["says"][1]


@pytest.mark.parametrize(
    "rows, why",
    [
        ([KEPT, ("kept", 0.5, True), LOST], ["v:k=1 (kept, choosing by later tokens)"]),
        ([KEPT, ("undecided", 0.5, False), LOST], ["have lost: v:k=1 (undecided)"]),
        ([KEPT, ("none", 0.5, False), LOST], ["have lost: v:k=1 (no verdict)"]),
        # Nothing faster was lost, as nothing was faster.
        ([KEPT, ("text lost", 1.5, False)], ["no variant takes less time"]),
        # What lost says nothing of milder ones.
        ([LOST, LOST], [NO_MILDER]),
        ([LOST, ("undecided", 5.4, False)], [NO_MILDER]),
        ([LOST, ("kept", 5.4, True)], [NO_MILDER]),
        ([("text lost", 1.5, False)], ["no variant takes less time", NO_MILDER]),
        ([], ["no variant takes less time", NO_MILDER]),
    ],
)
def test_what_does_not_decide_whether_the_cost_is_beaten(rows, why):
    answer = answers.quadratic(with_rows(*rows))
    assert answer["word"] == "undecided"
    said = answer["says"][1]
    assert said.startswith("Not decided: ") and all(words in said for words in why)
    assert said.count(";") == len(why) - 1


def test_a_short_text_does_not_decide():
    rows = [("kept", 1.1, False), ("both lost", 0.3, False)]
    answer = answers.quadratic(with_rows(*rows, share=0.49))
    assert answer["word"] == "undecided" and "too short" in answer["says"][1]
    assert "Attention is 49 % of the model's time" in answer["says"][-1]
    # One that is faster and kept is a yes there too.
    kept = with_rows(("kept", 0.5, False), share=0.1)
    assert answers.quadratic(kept)["word"] == "yes"
    untimed = with_rows(*rows)
    del untimed["rows"][0]["model_seconds"]
    assert "model's time is not there" in answers.quadratic(untimed)["says"][1]


def test_a_variant_whose_time_was_refused_does_not_decide():
    found = with_rows(KEPT, LOST, ("kept", 0.5, False), ("text lost", 0.5, False))
    for row in found["rows"][3:]:
        row["kernel"] = None
    answer = answers.quadratic(found)
    assert answer["word"] == "undecided"
    assert "have no time: v:k=2 (kept)." in answer["says"][1]
    # A rounded cache is no cheaper attention: numbers, and by nature no time.
    found["rows"][3]["kernel"] = {**found["rows"][1]["kernel"], "time_ratio": None}
    assert answers.quadratic(found)["word"] == "no"


def test_a_faster_variant_whose_text_was_refused_does_not_decide():
    found = with_rows(KEPT, LOST, ("none", 0.5, False))
    found["rows"][3]["kld"] = None
    answer = answers.quadratic(found)
    assert answer["word"] == "undecided"
    assert "have lost: v:k=2 (no verdict)." in answer["says"][1]
    found["rows"][3]["kernel"]["time_ratio"] = 1.5
    assert answers.quadratic(found)["word"] == "no"


def test_the_fastest_that_is_kept_is_named():
    found = with_rows(("kept", 0.5, False), ("kept", 0.4, False), ("kept", 0.2, True))
    assert "v:k=1 (0.40" in answers.quadratic(found)["says"][1]


def test_lengths_from_which_something_pays():
    sweep = made.comparison(
        [
            ("late", "crosses", 900.0),
            ("soon", "crosses", 700.4),
            ("never", "not up to the last length", None),
        ]
    )
    said = answers.crossing(sweep)
    assert "Held to mass=0.95" in said and "700 tokens: soon (2 of 3 rows" in said
    for row, longest in zip(sweep["sweep"]["rows"][1:], (950.0, None)):
        row.update(efficiency_shortest=650.0, efficiency_longest=longest)
    # Of one that has no upper end it is not known whether it is the first.
    assert "900 tokens (650 to 950): late (2 of 3" in answers.crossing(sweep)
    none = made.comparison([("never", "not up to the last length", None)])
    assert "no row crosses" in answers.crossing(none)
    now = answers.crossing(sweep)
    assert answers.quadratic(made.eval_(), sweep)["says"][-1] == now


@pytest.mark.parametrize(
    "curves, random, word",
    [
        # Of two orders the one that takes away more.
        ({"a": (0.001, 0.005, 0.5), "b": (0.001, 0.05, 0.5)}, None, "20 % can go"),
        ({"a": (0.02, 0.05, 0.5)}, [(0.02, 0.05, 0.5)], "no 10 % that was tried can go"),
        # A random order is an order.
        ({"a": (0.02, 0.05, 0.5)}, [(0.001, 0.05, 0.5)], "10 % can go"),
        # Within its errors of the limit: neither can it go, nor is it needed.
        ({"a": (0.0095, 0.05, 0.5)}, [(0.02, 0.05, 0.5)], "undecided"),
    ],
)
def test_heads_needed(curves, random, word):
    random = random and [made.curve(*losses) for losses in random]
    curves = {name: made.curve(*losses) for name, losses in curves.items()}
    answer = answers.heads_needed(made.heads(curves, random))
    assert answer["word"] == word
    assert "1 (5.0 %) have a retrieval score" in answer["says"][0]
    assert (
        "7 change the loss by 1.96 errors, where chance would say 1.0"
        in answer["says"][1]
    )


def test_heads_are_judged_on_the_other_text():
    curve = made.curve(0.001, 0.005, 0.5)
    for point in curve:
        point.update(other_loss=0.4, other_loss_error=0.001)
    answer = answers.heads_needed(made.heads({"a": curve}, [curve]))
    assert answer["word"] == "no 10 % that was tried can go"
    assert "0.400 ± 0.001" in answer["says"][-1]


def test_no_head_is_no_share():
    curve = made.curve(0.0, 0.05, 0.5)
    curve[0].update(heads=0, loss_error=0.0)
    answer = answers.heads_needed(made.heads({"a": curve}, [curve]))
    assert answer["word"] == "no 20 % that was tried can go"
    answer = answers.heads_needed(made.heads({"a": curve[:1]}, [curve[:1]]))
    assert answer["word"] == "not measured"


def test_heads_of_trained_models():
    answer = answers.heads_needed(None, made.head_count())
    assert answer["word"] == "not measured" and answer["says"] == [
        "Trained from the start at one size, 4 heads lose least, 2.375 ± 0.010 nats; by "
        "how much more others lose: 1: 0.125 ± 0.005, 8: 0.250 ± 0.005."
    ]


def test_heads_of_one_seed():
    found = made.head_count()
    for row in found["rows"]:
        row.update(loss_error=None, change_error=None)
    assert answers.trained(found).endswith("8: 0.250. One seed: without errors.")


def test_heads_without_pruning():
    assert answers.heads_needed(made.heads())["word"] == "not measured"


WINDOW = made.fact_row("window everywhere", -1.8, -0.4)  # 0.9 of needles, 0.1 of facts
MLP = made.fact_row("MLP off in layers 0-4", -0.2, -3.6)  # the other way round
SAME = made.fact_row("attention off in layers 0-4", -1.0, -2.0)
BROKEN = made.fact_row("attention off in layers 0-4", -2.4, -12.0)
BACK = made.fact_row("attention off in layers 5-9", -0.2, -3.6)


@pytest.mark.parametrize(
    "rows, word",
    [
        ([WINDOW, SAME, MLP], "attention retrieves, MLPs store"),
        ([WINDOW, SAME], "attention retrieves, MLPs undecided"),
        ([SAME], "undecided"),
        ([WINDOW, BACK, MLP], "attention does both, MLPs store"),
        ([BACK], "attention stores, MLPs undecided"),
        # What takes all of both has broken the model.
        ([WINDOW, BROKEN, MLP], "attention retrieves, MLPs store"),
        ([made.fact_row("window everywhere", -1.8, -0.4, error=0.9)], "undecided"),
        ([made.fact_row("window everywhere", -1.8, -0.4, error=None)], "undecided"),
    ],
)
def test_store_or_retrieve(rows, word):
    assert answers.store_or_retrieve(made.facts(*rows))["word"] == word


def test_shares_that_interventions_take():
    heads = made.fact_row("10 retrieval heads off", -1.0, 0.0)
    random = made.fact_row("10 random heads off, 8 draws", -1.9, 0.0)
    found = {
        e["name"]: e for e in answers.effects(made.facts(WINDOW, MLP, heads, random))
    }
    assert found["window everywhere"]["needles"] == pytest.approx(0.9)
    assert found["window everywhere"]["facts_error"] == pytest.approx(0.025)
    assert found["MLP off in layers 0-4"]["side"] == "facts"
    assert found["10 retrieval heads off"]["kind"] == "attention"
    assert found["10 random heads off, 8 draws"]["kind"] == "random heads"
    answer = answers.store_or_retrieve(made.facts(WINDOW, MLP, heads, random))
    assert "Of 2 interventions in attention, 2 take more" in answer["says"][0]
    assert "off take 0.50 ± 0.05 of the needles' margin" in answer["says"][2]
    # The more is tried, the farther apart two shares must be: here by 2.2 errors.
    near = made.fact_row("window in layers 0-9", -0.5, -0.75, error=0.05)
    assert answers.effects(made.facts(near))[0]["side"] == "context"
    few = made.facts(near)
    few["baseline"].update(needles_documents=2, facts_documents=2)
    assert answers.effects(few)[0]["side"] == "undecided"
    few["baseline"].update(needles_documents=40, facts_documents=40)
    assert answers.effects(few)[0]["side"] == "context"
    many = [
        made.fact_row(f"window in layers {i}", -0.5, -0.75, error=0.05)
        for i in range(9)
    ]
    assert {e["side"] for e in answers.effects(made.facts(*many))} == {"undecided"}


def test_what_is_slower_within_the_model_is_not_faster():
    found = with_rows(("kept", 0.5, False))
    assert answers.quadratic(found)["word"] == "yes"
    found["rows"][1]["attention_seconds"] = found["rows"][0]["attention_seconds"] + 1
    answer = answers.quadratic(found)
    assert answer["word"] == "undecided" and "0 of 1 variants" in answer["says"][0]


@pytest.mark.parametrize(
    "freedom, count, bound",
    [
        (1, 1, 12.706),
        (3, 1, 3.182),
        (10, 1, 2.228),
        (10, 5, 3.169),  # 0.995
        (2, 25, 22.327),  # 0.999
        (None, 1, 1.960),
        (None, 5, 2.576),
    ],
)
def test_bounds_are_those_of_tables_of_students_distribution(freedom, count, bound):
    assert words.bound_of(count, freedom) == pytest.approx(bound, abs=6e-4)


def test_degrees_of_freedom_of_a_difference():
    assert words.freedom_of([1.0, 1.0], [5, 5]) == pytest.approx(8)
    assert words.freedom_of([1.0, 0.0], [5, 9]) == pytest.approx(4)
    assert words.freedom_of([0.0, 0.0], [5, 5]) is None


def test_recall_that_was_not_tested_is_told_so():
    found = with_rows(("undecided", 0.5, False))
    found["rows"][1].update(worst_share=1, worst_share_error=None, worst_tested=False)
    says = " ".join(answers.quadratic(found)["says"])
    assert "(undecided, recall not tested)" in says and "recalls most" not in says
    assert "needle 100 % left" not in says
