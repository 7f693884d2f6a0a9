# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What is measured of a language model, in numpy: losses, divergence, margins.

Logits are [tokens, vocabulary] arrays. Losses are in nats.
"""

import math

import numpy as np

# Mean KL divergence of llama.cpp's quantisations of Llama 3 8B from its 16-bit
# weights, by the table beside llama-perplexity: what harm of this size is like.
LADDER = {
    "q8_0": 0.0014,
    "q6_K": 0.0055,
    "q5_K_M": 0.011,
    "q4_K_M": 0.031,
    "q3_K_M": 0.10,
    "q2_K": 0.33,
    "iq1_M": 1.39,
}


def log_softmax(logits):
    """Natural logarithms of probabilities, rows of float32 [n, vocabulary]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def divergence(exact, other):
    """KL(exact || other) of each row, float64 [n], from log-probabilities.

    Not below 0: rounding can make it so where both are the same.
    """
    each = np.einsum("nv,nv->n", np.exp(exact), exact - other)
    return np.maximum(each.astype(np.float64), 0)


def mean_error(values):
    """(mean, its standard error); the error of fewer than two values is None."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return (float(values.mean()) if len(values) else None), None
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def clustered(values, clusters):
    """(mean, its standard error) of values that are not independent in a cluster.

    The error by sums over clusters, G / (G - 1) of their squares; None for fewer
    than two clusters.
    """
    values, clusters = np.asarray(values, np.float64), np.asarray(clusters)
    if not len(values):
        return None, None
    mean = values.mean()
    names = np.unique(clusters)
    if len(names) < 2:
        return float(mean), None
    sums = np.array([(values[clusters == name] - mean).sum() for name in names])
    variance = len(names) / (len(names) - 1) * (sums**2).sum() / len(values) ** 2
    return float(mean), float(math.sqrt(variance))


def compare_tokens(exact_nll, nll, kld, same_top):
    """Numbers of one text: perplexities, their ratio, divergence, same-top.

    nll: of the scored tokens, paired; the ratio's error is that of the mean of
    paired differences, tokens taken as independent, as llama.cpp does.
    """
    n = len(nll)
    exact_mean, exact_error = mean_error(exact_nll)
    mean, error = mean_error(nll)
    ratio, ratio_error = mean_error(np.asarray(nll) - np.asarray(exact_nll))
    kld_mean, kld_error = mean_error(kld)
    quantiles = np.quantile(kld, [0.5, 0.9, 0.99])
    same = float(np.mean(same_top))
    return {
        "tokens": n,
        "exact_ppl": math.exp(exact_mean),
        "exact_nll_error": exact_error,
        "ppl": math.exp(min(mean, 700)),
        "nll_error": error,
        "ln_ratio": ratio,
        "ln_ratio_error": ratio_error,
        "kld": kld_mean,
        "kld_error": kld_error,
        "kld_p50": float(quantiles[0]),
        "kld_p90": float(quantiles[1]),
        "kld_p99": float(quantiles[2]),
        "same_top": same,
        "same_top_error": math.sqrt(same * (1 - same) / n),
    }


def by_position(nll):
    """Mean loss of the tokens from index 1 on, in bins that double.

    Returns [[first, last, mean], ...] with positions in the text, both included.
    """
    bins, first, count = [], 1, len(nll)
    while first <= count:
        last = min(2 * first - 1, count)
        bins.append([first, last, float(np.mean(nll[first - 1 : last]))])
        first = last + 1
    return bins


def context_score(nll, early=50, late=500, width=25):
    """Loss about the late token less that about the early one, or None if short.

    Negative where context helps (Olsson et al. 2022, arXiv:2209.11895).
    """
    if len(nll) < late + width:
        return None
    near = lambda at: float(np.mean(nll[at - width : at + width]))
    return near(late) - near(early)


def margin(log_probs, right, distractors):
    """(margin over the best distractor, margin over their mean, log-probability)."""
    others = log_probs[np.asarray(distractors)]
    own = float(log_probs[right])
    return own - float(others.max()), own - float(others.mean()), own


def scored(documents, forward, log_probs):
    """Yields the numbers of every item of documents, as task_summary() takes them.

    forward(document's number, document): its last hidden states; log_probs(rows of
    them). A dict: document and item, by number; chance, right, margin, margin_mean
    and logp.
    """
    for number, document in enumerate(documents):
        hidden = forward(number, document)
        rows = log_probs(hidden[[item.position - 1 for item in document.items]])
        for i, (item, row) in enumerate(zip(document.items, rows)):
            best, mean, own = margin(row, item.right, item.distractors)
            yield {
                "document": number,
                "item": i,
                "chance": item.chance,
                "right": best > 0,
                "margin": best,
                "margin_mean": mean,
                "logp": own,
            }


def margins(documents, forward, log_probs):
    """(margins over the best distractor, documents' numbers) of scored() items."""
    found = list(scored(documents, forward, log_probs))
    return (
        np.array([item["margin"] for item in found]),
        np.array([item["document"] for item in found], int),
    )


def wilson(successes, n, z=1.96):
    """The lower bound of a share by Wilson's score interval."""
    if n == 0:
        return 0.0
    p = successes / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n)


def task_summary(items):
    """Numbers of one task, from items: dicts of document, chance, right, margin,
    margin_mean and logp. Errors are over documents."""
    documents = [item["document"] for item in items]
    accuracy, accuracy_error = clustered([i["right"] for i in items], documents)
    best, best_error = clustered([i["margin"] for i in items], documents)
    mean, mean_error_ = clustered([i["margin_mean"] for i in items], documents)
    return {
        "items": len(items),
        "documents": len(set(documents)),
        "chance": float(np.mean([i["chance"] for i in items])),
        "accuracy": accuracy,
        "accuracy_error": accuracy_error,
        "margin": best,
        "margin_error": best_error,
        "margin_mean": mean,
        "margin_mean_error": mean_error_,
        "logp": float(np.mean([i["logp"] for i in items])),
    }


def independent_items(summary):
    """How many independent items carry as much as these, at most all of them.

    Items of a document hang together: what the error over documents says, where
    there are two or more.
    """
    n, p, error = summary["items"], summary["accuracy"], summary["accuracy_error"]
    if not error or not 0 < p < 1:
        return n
    return min(n, p * (1 - p) / error**2)


def can_do(summary):
    """Whether a model does a task clearly above chance.

    The lower bound of its accuracy (Wilson, 95 %) lies above a quarter of the way
    from chance to everything right. Items count as independent_items() says.
    """
    chance, n = summary["chance"], independent_items(summary)
    return wilson(summary["accuracy"] * n, n) > chance + (1 - chance) / 4


def retained(exact, other):
    """The share that is left of what exact attention does above chance."""
    return (other["accuracy"] - other["chance"]) / (exact["accuracy"] - exact["chance"])


def retained_error(exact, other):
    """The standard error of retained(), from the pairs of the same items.

    Of the ratio's linear part, over items and over documents, whichever is larger;
    of one document, over items alone. None where the grids have no two items.
    """
    share, room = retained(exact, other), exact["accuracy"] - exact["chance"]
    before = {tuple(row[:3]): row[3] > 0 for row in exact["grid"]}
    parts, documents = [], []
    for row in other["grid"]:
        if tuple(row[:3]) in before:
            was = before[tuple(row[:3])] - exact["chance"]
            parts.append(((row[3] > 0) - other["chance"]) - share * was)
            documents.append(row[0])
    errors = [mean_error(parts)[1], clustered(parts, documents)[1]]
    errors = [error for error in errors if error is not None]
    return max(errors) / room if errors else None


def untouched(exact, other):
    """Whether every item has exact attention's own margin.

    Documents then end before what a variant leaves out.
    """
    before = {tuple(row[:3]): row[3] for row in exact["grid"]}
    return all(before.get(tuple(row[:3])) == row[3] for row in other["grid"])


# What a variant must keep for a verdict of "kept": text as well as 4-bit weights
# do, and nine tenths of the worst task. Either alone says nothing of the other.
KLD_LIMIT = LADDER["q4_K_M"]
TASK_LIMIT = 0.9
BOUND = 1.96  # standard errors


def _side(value, error, limit):
    """1 where a value is above a limit by its bound, -1 below, 0 where unknown."""
    if error is None or abs(value - limit) < BOUND * error:
        return 0
    return 1 if value >= limit else -1


def verdict(texts, shares):
    """One word: kept, text lost, recall lost, both lost, undecided; or none.

    texts: [(KLD, its error)] of each text; shares: [(share retained, its error)] of
    the tasks that exact attention can do. Bounds decide, not the means: "kept" where
    those of every KLD and share lie within the limits, "lost" where one lies outside,
    else "undecided". "none" without a text or a task.
    """
    if not texts or not shares:
        return "none"
    text = min(-_side(*kld, KLD_LIMIT) for kld in texts)
    recall = min(_side(*share, TASK_LIMIT) for share in shares)
    if text < 0 or recall < 0:
        lost = {(True, True): "both", (True, False): "text", (False, True): "recall"}
        return lost[text < 0, recall < 0] + " lost"
    return "kept" if text > 0 and recall > 0 else "undecided"


def rung(kld):
    """The least harmful quantisation that does at least this much harm, or a word."""
    if kld > max(LADDER.values()):
        return "beyond iq1_M"
    return next(name for name, limit in LADDER.items() if kld <= limit)
